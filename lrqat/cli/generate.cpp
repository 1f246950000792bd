// lrqat generate: text that follows a prompt, written as it comes.
#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <memory>

#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/cli/standard_output.h"
#include "lrqat/eval/generation.h"
#include "lrqat/model/open.h"

namespace lrqat::cli {
namespace {

struct GenerateFlags {
  std::string model;
  std::string prompt;
  bool no_special = false;
  std::string compute_dtype = "float32";
  eval::GenerationOptions options;
};

void run_generate(const GenerateFlags& flags, Context& context) {
  const model::LoadOptions load{parse_compute_type(flags.compute_dtype), at::Device(context.options.device)};
  const model::OpenedModel model = model::open_model(flags.model, load);
  const text::Tokenizer& tokenizer = model.tokenizer();
  eval::GenerationOptions options = flags.options;
  options.seed = context.options.seed;
  options.stop_tokens = model.decoder->config().eos_token_id;
  if (const auto end_of_text = tokenizer.eos_token_id()) options.stop_tokens.push_back(*end_of_text);
  const auto prompt = tokenizer.encode(flags.prompt, !flags.no_special);
  text::TokenStream stream(tokenizer);
  std::string text;
  const auto write = [&](const std::string& part) {
    text += part;
    if (context.options.json) return;
    std::cout << part;
    flush_standard_output();
  };
  const auto begin = std::chrono::steady_clock::now();
  const auto tokens = eval::generate(*model.decoder, prompt, options, [&](std::int32_t token) {
    write(stream.add(token));
    return true;
  });
  write(stream.finish());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  if (!context.options.json) {
    std::cout << "\n";
    return;
  }
  context.print_json({{"prompt", flags.prompt},
                      {"text", text},
                      {"prompt_tokens", prompt},
                      {"tokens", tokens},
                      {"seconds", elapsed.count()},
                      {"tokens_per_second", static_cast<double>(tokens.size()) / elapsed.count()},
                      {"peak_memory_bytes", peak_resident_bytes()}});
}

}  // namespace

Action declare_generate(CLI::App& command) {
  auto flags = std::make_shared<GenerateFlags>();
  command.add_option("--model", flags->model, "Hugging Face folder, GGUF file, run or converted folder")
      ->required();
  command.add_option("--prompt", flags->prompt, "the text to continue")->required();
  add_integer(command, "--max-tokens", flags->options.max_tokens, 1, kMostCount, "tokens to generate at most")->default_str("128");
  add_real(command, "--temperature", flags->options.temperature, 0.0, 1e6, "0: always the most likely token")->default_str("0");
  add_real(command, "--top-p", flags->options.top_p, 0.0, 1.0, "sample among the most likely tokens of this probability")->default_str("1");
  command.add_flag("--no-special", flags->no_special, "no special tokens around the prompt");
  command.add_option("--compute-dtype", flags->compute_dtype, "matrix products in float32, bfloat16 or auto")
      ->capture_default_str();
  return [flags](Context& context) { run_generate(*flags, context); };
}

}  // namespace lrqat::cli
