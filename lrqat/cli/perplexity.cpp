// lrqat perplexity: token perplexity of any model on a text, and its divergence from a reference model.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <span>

#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/cli/window_flags.h"
#include "lrqat/eval/divergence.h"
#include "lrqat/model/open.h"
#include "lrqat/model/positions.h"

namespace lrqat::cli {
namespace {

struct PerplexityFlags {
  std::string model;
  DataFlags data;
  std::string reference;
  std::string compute_dtype = "float32";
  eval::WindowOptions windows;
};

bool starts_with_bos(const text::Tokenizer& tokenizer, std::span<const std::int32_t> tokens) {
  const auto bos = tokenizer.bos_token_id();
  return bos && !tokens.empty() && tokens.front() == *bos && tokenizer.encode("", true).size() > 0;
}

Json describe(const eval::PerplexityResult& result, const eval::EvaluationText& text, bool bos) {
  Json json{
      {"perplexity", result.perplexity}, {"nll", result.nll}, {"bos", bos}, {"seconds", result.seconds}};
  describe_windows(text, result, json);
  return json;
}

void print_text(const Json& json) {
  std::cout << "perplexity        " << rounded(json["perplexity"], 3) << "\n"
            << "nll               " << rounded(json["nll"], 4) << " nats a token\n"
            << "tokens            " << windows_line(json) << (json["bos"].get<bool>() ? " (with BOS)" : "")
            << "\n";
  if (json.contains("kl_to_reference")) {
    std::cout << "reference         " << rounded(json["reference_perplexity"], 3) << "\n"
              << "KL to reference   " << rounded(json["kl_to_reference"], 4) << " nats a token\n"
              << "same first token  " << rounded(json["top1_agreement"], 4) << "\n";
  }
}

void run_perplexity(const PerplexityFlags& flags, Context& context) {
  const model::LoadOptions load{model::parse_compute_type(flags.compute_dtype),
                                at::Device(context.options.device)};
  const model::OpenedModel model = model::open_model(flags.model, load);
  const eval::EvaluationText text(flags.data.data, flags.data.format, model, context.progress);
  const eval::ScoredText scored = text.tokens();
  const bool bos = starts_with_bos(model.tokenizer(), scored.tokens);
  const auto windows = fit_windows(flags.windows, 2048, *model.decoder);
  Json json;
  if (flags.reference.empty()) {
    const auto result = eval::perplexity(*model.decoder, scored, windows, context.progress);
    eval::check_finite(result, flags.model);
    json = describe(result, text, bos);
  } else {
    const model::OpenedModel reference = model::open_model(flags.reference, load);
    model::check_positions(reference.decoder->config(), "--context", windows.context);
    text.require_same_tokens(reference);
    const auto result =
        eval::divergence(*reference.decoder, *model.decoder, scored, windows, context.progress);
    eval::check_finite(result.reference, flags.reference);
    eval::check_finite(result.model, flags.model);
    json = describe(result.model, text, bos);
    json["reference_perplexity"] = result.reference.perplexity;
    json["kl_to_reference"] = result.mean_kl;
    json["top1_agreement"] = result.top1_agreement;
  }
  json["peak_memory_bytes"] = peak_resident_bytes();
  context.options.json ? context.print_json(json) : print_text(json);
}

}  // namespace

Action declare_perplexity(CLI::App& command) {
  auto flags = std::make_shared<PerplexityFlags>();
  command.add_option("--model", flags->model, "Hugging Face folder, GGUF file, run or converted folder")
      ->required();
  add_window_flags(command, flags->data, flags->windows);
  command.add_option("--reference", flags->reference, "a model to measure the divergence from");
  command.add_option("--compute-dtype", flags->compute_dtype, "matrix products in float32, bfloat16 or auto")
      ->capture_default_str();
  return [flags](Context& context) { run_perplexity(*flags, context); };
}

}  // namespace lrqat::cli
