// lrqat sample-text: a model's own text, in a file that --data reads.
#include "lrqat/eval/sample_text.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/model/open.h"
#include "lrqat/model/output.h"

namespace lrqat::cli {
namespace {

namespace fs = std::filesystem;

struct SampleTextFlags {
  std::string model;
  std::string out;
  std::string first_token = "vocabulary";
  std::string compute_dtype = "float32";
  bool force = false;
  eval::SampleTextOptions options;
};

void print_text(const std::string& out, const Json& json) {
  const auto count = [&](const char* key) { return json[key].get<std::int64_t>(); };
  std::cout << shell_word(out) << ": " << count("documents") << " documents of " << count("tokens")
            << " tokens, " << rounded(json["seconds"], 1) << " s, " << rounded(json["tokens_per_second"], 0)
            << " tokens/s\n"
            << "dropped: " << count("empty") << " without text, " << count("repetitions")
            << " repeating themselves, " << count("duplicates") << " like earlier ones\n";
}

void run_sample_text(const SampleTextFlags& flags, Context& context) {
  if (fs::path(flags.out).extension() != ".jsonl")
    throw UsageError("--out " + flags.out +
                     ": the text is written as JSON lines, so the name ends in .jsonl");
  model::check_output(flags.out, model::OutputKind::file, flags.force, {flags.model});
  const model::LoadOptions load{model::parse_compute_type(flags.compute_dtype),
                                at::Device(context.options.device)};
  const model::OpenedModel model = model::open_model(flags.model, load);
  model::check_output(flags.out, model::OutputKind::file, flags.force, model::inputs_of(model));
  if (flags.force) fs::remove(eval::partial_file(flags.out));
  eval::SampleTextOptions options = flags.options;
  options.first_token = eval::parse_first_token(flags.first_token);
  options.seed = context.options.seed;
  options.origin = {{"model", fs::canonical(flags.model).string()}, {"compute_dtype", flags.compute_dtype}};
  const eval::SampledText sampled = eval::sample_text(model, options, flags.out, context.progress);
  const Json json{{"path", flags.out},
                  {"documents", sampled.documents},
                  {"tokens", sampled.tokens},
                  {"sampled_tokens", sampled.sampled_tokens},
                  {"empty", sampled.empty},
                  {"repetitions", sampled.repetitions},
                  {"duplicates", sampled.duplicates},
                  {"seconds", sampled.seconds},
                  {"tokens_per_second", static_cast<double>(sampled.sampled_tokens) / sampled.seconds},
                  {"peak_memory_bytes", peak_resident_bytes()}};
  context.options.json ? context.print_json(json) : print_text(flags.out, json);
}

}  // namespace

Action declare_sample_text(CLI::App& command) {
  auto flags = std::make_shared<SampleTextFlags>();
  eval::SampleTextOptions& options = flags->options;
  command.add_option("--model", flags->model, "Hugging Face folder, GGUF file, run or converted folder")
      ->required();
  add_out(command, flags->out,
          "the .jsonl file to write, for --data; the same command goes on where one was interrupted");
  add_integer(command, "--tokens", options.tokens, 1, kMostCount, "tokens at least, over all documents")
      ->default_str("65536");
  add_integer(command, "--sequence-length", options.sequence_length, 2, kMostCount,
              "tokens of a document at most (default: 512, or as many as the model has positions)");
  add_integer(command, "--batch-size", options.batch_size, 1, kMostCount,
              "documents at once (default: 32, or what 1 GiB of keys and values holds)");
  add_real(command, "--temperature", options.temperature, 0.0, 1e6, "0: always the most likely token")
      ->default_str("1");
  add_real(command, "--top-p", options.top_p, 0.0, 1.0,
           "sample among the most likely tokens of this probability")
      ->default_str("1");
  add_choice(command, "--first-token", flags->first_token, {"vocabulary", "document"},
             "how a document begins: with a token drawn from the whole vocabulary and a few most likely ones "
             "behind it, or as the model begins one");
  command.add_option("--compute-dtype", flags->compute_dtype, "matrix products in float32, bfloat16 or auto")
      ->capture_default_str();
  command.add_flag("--force", flags->force,
                   "replace a text that this command wrote before, begin anew what was interrupted");
  return [flags](Context& context) { run_sample_text(*flags, context); };
}

}  // namespace lrqat::cli
