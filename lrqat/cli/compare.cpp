// lrqat compare: how far a model is from another on a text, with standard errors, as llama.cpp's
// --kl-divergence.
#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <memory>

#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/cli/window_flags.h"
#include "lrqat/eval/divergence.h"
#include "lrqat/model/open.h"
#include "lrqat/model/positions.h"

namespace lrqat::cli {
namespace {

struct CompareFlags {
  std::string reference;
  std::vector<std::string> models;
  DataFlags data;
  std::string compute_dtype = "float32";
  eval::WindowOptions windows;
};

// Float32 sums of V terms leave about this much of a divergence that is none.
constexpr double kSameDistribution = 1e-6;

std::string verdict(const eval::DivergenceResult& result) {
  if (result.kl.mean < kSameDistribution) return "the same distributions";
  if (result.log_ratio.is_noise())
    return "the difference in perplexity is noise: less than two standard errors";
  return result.log_ratio.mean > 0 ? "B has a higher perplexity than A" : "B has a lower perplexity than A";
}

Json describe(const eval::DivergenceResult& result, const eval::EvaluationText& text) {
  const double ratio = std::exp(result.log_ratio.mean);
  Json json{{"perplexity", {{"a", result.reference.perplexity}, {"b", result.model.perplexity}}},
            {"perplexity_ratio", ratio},
            {"perplexity_ratio_stderr", ratio * result.log_ratio.error()},
            {"log_perplexity_ratio", result.log_ratio.mean},
            {"log_perplexity_ratio_stderr", result.log_ratio.error()},
            {"kl", result.kl.mean},
            {"kl_stderr", result.kl.error()},
            {"kl_median", result.median_kl},
            {"kl_99", result.kl_99},
            {"kl_max", result.max_kl},
            {"top1_agreement", result.top1.mean},
            {"top1_agreement_stderr", result.top1.error()},
            {"perplexity_difference_is_noise", result.log_ratio.is_noise()},
            {"verdict", verdict(result)},
            {"seconds", result.model.seconds},
            {"peak_memory_bytes", peak_resident_bytes()}};
  describe_windows(text, result.model, json);
  return json;
}

void print_text(const Json& json) {
  const auto line = [&](const char* label, const char* key, const char* unit = "") {
    std::cout << label << with_error(json[key], json[std::string(key) + "_stderr"]) << unit << "\n";
  };
  std::cout << "perplexity of A     " << rounded(json["perplexity"]["a"], 3) << "\n"
            << "perplexity of B     " << rounded(json["perplexity"]["b"], 3) << "\n";
  line("ratio B / A         ", "perplexity_ratio");
  line("log of the ratio    ", "log_perplexity_ratio");
  line("KL(A || B)          ", "kl", " nats a token");
  std::cout << "  median, 99 %, max " << rounded(json["kl_median"], 4) << ", " << rounded(json["kl_99"], 4)
            << ", " << rounded(json["kl_max"], 4) << "\n";
  line("same first token    ", "top1_agreement");
  std::cout << "tokens              " << windows_line(json) << "\n"
            << json["verdict"].get<std::string>() << "\n";
}

void run_compare(const CompareFlags& flags, Context& context) {
  const model::LoadOptions load{model::parse_compute_type(flags.compute_dtype),
                                at::Device(context.options.device)};
  const model::OpenedModel reference = model::open_model(flags.reference, load);
  const auto windows = fit_windows(flags.windows, 512, *reference.decoder);
  const eval::EvaluationText text(flags.data.data, flags.data.format, reference, context.progress);
  std::vector<model::OpenedModel> models;
  std::vector<const model::Decoder*> decoders;
  for (const std::string& path : flags.models) {
    models.push_back(model::open_model(path, load));
    model::check_positions(models.back().decoder->config(), "--context", windows.context);
    decoders.push_back(models.back().decoder.get());
    text.require_same_tokens(models.back());
  }
  const auto results =
      eval::divergences(*reference.decoder, decoders, text.tokens(), windows, context.progress);
  eval::check_finite(results.front().reference, flags.reference);
  for (std::size_t i = 0; i < results.size(); ++i) eval::check_finite(results[i].model, flags.models[i]);
  if (results.size() == 1) {
    const Json json = describe(results.front(), text);
    return context.options.json ? context.print_json(json) : print_text(json);
  }
  Json all = Json::array();
  for (std::size_t i = 0; i < results.size(); ++i) {
    all.push_back(describe(results[i], text));
    all.back()["model"] = flags.models[i];
    if (context.options.json) continue;
    std::cout << (i == 0 ? "" : "\n") << "B                   " << flags.models[i] << "\n";
    print_text(all.back());
  }
  if (context.options.json) context.print_json({{"models", all}});
}

}  // namespace

Action declare_compare(CLI::App& command) {
  auto flags = std::make_shared<CompareFlags>();
  command
      .add_option("A", flags->reference,
                  "the reference: Hugging Face folder, GGUF file, run or converted folder")
      ->required();
  command.add_option("B", flags->models, "the models that are compared with it, each for itself")
      ->required()
      ->expected(1, 1 << 20);
  add_window_flags(command, flags->data, flags->windows);
  command.add_option("--compute-dtype", flags->compute_dtype, "matrix products in float32, bfloat16 or auto")
      ->capture_default_str();
  return [flags](Context& context) { run_compare(*flags, context); };
}

}  // namespace lrqat::cli
