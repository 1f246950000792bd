// lrqat export: a converted folder or a run into a file that other programs read.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "lrqat/base/field_names.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/export/exporter.h"

namespace lrqat::cli {
namespace {

struct ExportFlags {
  std::string model;
  std::string format;
  std::string out;
  exporting::ExportOptions options;
};

// Flags of the other kind of format would be ignored.
void refuse_foreign_flags(const CLI::App& command, const std::string& format) {
  const bool gguf = format == "gguf";
  for (const char* flag : {"--linear-type", "--rest-type", "--matrices"}) {
    if (!gguf && command.count(flag) > 0)
      throw UsageError(concat(flag, " is for --format gguf, --format ", format, " has no such choice"));
  }
  if (gguf && command.count("--dtype") > 0)
    throw UsageError(
        "--dtype is for formats that are folders; --format gguf has --linear-type and --rest-type");
}

void run_export(const ExportFlags& flags, Context& context) {
  const exporting::Exporter& exporter = exporting::find_exporter(flags.format);
  model::check_output(flags.out, exporter.output, flags.options.replace, {flags.model});
  const model::OpenedModel model = model::open_model(flags.model);
  if (!model.unfinished.empty()) context.progress.message("warning: " + model.unfinished);
  auto report = exporting::export_model(exporter, model, flags.out, flags.options, context.progress);
  for (std::string& warning : report.warnings) {
    warning = with_field_names(warning, "--");
    context.progress.message("warning: " + warning);
  }
  if (context.options.json) return context.print_json(exporting::to_json(report));
  std::cout << report.path.string() << ": " << report.bit_exact_tensors << " of " << report.tensors
            << " tensors bit-exact, " << mebibytes(report.bytes) << ", " << rounded(report.bits_per_weight, 2)
            << " bits a weight\n";
}

}  // namespace

Action declare_export(CLI::App& command) {
  auto flags = std::make_shared<ExportFlags>();
  command
      .add_option("--model", flags->model,
                  "a converted folder, a run, or any model whose linears are quantized")
      ->required();
  command.add_option("--format", flags->format, "file format: " + exporting::known_exporters())->required();
  add_out(command, flags->out, "the file (gguf) or folder to write");
  flags->options.replace = false;
  command.add_flag("--force", flags->options.replace, "replace a file or folder that lrqat wrote before");
  command
      .add_option("--linear-type", flags->options.linear_type,
                  "gguf: quantized linears as auto (the smallest type that is exact) or " +
                      exporting::known_linear_types())
      ->capture_default_str();
  command
      .add_option(
          "--rest-type", flags->options.rest_type,
          "gguf: other matrices as auto (embedding and head as llama.cpp's quantizer does), keep (what the "
          "model has, exactly), f32, f16, bf16, q8_0 or q6_k")
      ->capture_default_str();
  command.add_option("--matrices", flags->options.matrices,
                     "gguf: f32 writes every matrix as float32 of its exact value, to compare programs");
  command
      .add_option(
          "--dtype", flags->options.dtype,
          "folders: the type that programs load the model in, auto, float16, bfloat16 or float32; hf: "
          "also the type of every tensor")
      ->capture_default_str();
  command.add_flag("--weights-only", flags->options.weights_only,
                   "of a model whose activations are quantized: export the weights without that");
  command.add_flag("--allow-inexact", flags->options.allow_inexact,
                   "round scales (hf: weights) that the format does not hold, and say by how much");
  return [flags, &command](Context& context) {
    refuse_foreign_flags(command, exporting::find_exporter(flags->format).name);
    run_export(*flags, context);
  };
}

}  // namespace lrqat::cli
