// lrqat generate: text that follows a prompt, written as it comes.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/cli/standard_output.h"
#include "lrqat/eval/generation.h"
#include "lrqat/model/open.h"
#include "lrqat/model/positions.h"

namespace lrqat::cli {
namespace {

struct GenerateFlags {
  std::string model;
  std::string prompt;
  bool no_special = false;
  std::string compute_dtype = "float32";
  eval::GenerationOptions options;
};

std::string name_of(const text::Tokenizer& tokenizer, std::int32_t token) {
  return concat("token ", token, " (",
                tokenizer.id_to_piece(token).value_or("which the tokenizer does not have"), ")");
}

// The special tokens that a chat template writes: without them a prompt is no question to a chat model.
std::vector<std::string> template_tokens(const text::Tokenizer& tokenizer) {
  std::vector<std::string> found;
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const auto token = static_cast<std::int32_t>(id);
    if (!tokenizer.is_special(token)) continue;
    const std::string piece = tokenizer.id_to_piece(token).value_or("");
    if (tokenizer.chat_template().find(piece) != std::string::npos) found.push_back(piece);
  }
  return found;
}

// A chat model continues a raw prompt, which is seldom what was meant.
void note_raw_prompt(const text::Tokenizer& tokenizer, const std::string& prompt,
                     ProgressReporter& progress) {
  if (tokenizer.chat_template().empty()) return;
  const auto ids = tokenizer.encode(prompt, /*add_special_tokens=*/false);
  if (std::any_of(ids.begin(), ids.end(), [&](std::int32_t id) { return tokenizer.is_special(id); })) return;
  std::string tokens;
  for (const std::string& piece : template_tokens(tokenizer)) tokens += (tokens.empty() ? "" : ", ") + piece;
  progress.message(
      concat("note: this is a chat model, and --prompt is continued as it stands, not answered: no chat "
             "template is put around it. For an answer write the prompt in the form of the template",
             tokens.empty() ? "" : " (its tokens: " + tokens + ")"));
}

// Why nothing can be shown.
std::string nothing_to_show(const text::Tokenizer& tokenizer, const eval::GenerationOptions& options,
                            const std::vector<std::int32_t>& tokens) {
  const auto& stops = options.stop_tokens;
  if (std::find(stops.begin(), stops.end(), tokens.front()) == stops.end()) {
    return concat("no text: the ", tokens.size(), " generated tokens, from ",
                  name_of(tokenizer, tokens.front()), " on, have none");
  }
  return concat("no text: the model's first token is ", name_of(tokenizer, tokens.front()),
                ", which ends a text. The prompt is continued, not answered; give one that asks for more, or "
                "--temperature 1 for another choice");
}

// --max-tokens as given, refused where prompt and answer are longer than the model's positions; else what
// fits of 128.
void fit_max_tokens(eval::GenerationOptions& options, std::int64_t prompt, const model::Decoder& decoder) {
  constexpr std::int64_t kUsual = 128;
  if (options.max_tokens == 0) {
    options.max_tokens =
        std::clamp<std::int64_t>(decoder.config().max_position_embeddings - prompt, 1, kUsual);
  }
  model::check_positions(decoder.config(),
                         concat("--prompt of ", prompt, " tokens and --max-tokens ", options.max_tokens),
                         prompt + options.max_tokens);
}

void run_generate(const GenerateFlags& flags, Context& context) {
  const model::LoadOptions load{model::parse_compute_type(flags.compute_dtype),
                                at::Device(context.options.device)};
  const model::OpenedModel model = model::open_model(flags.model, load);
  const text::Tokenizer& tokenizer = model.tokenizer();
  eval::GenerationOptions options = flags.options;
  options.seed = context.options.seed;
  options.stop_tokens = eval::stop_tokens(model);
  note_raw_prompt(tokenizer, flags.prompt, context.progress);
  const auto prompt = tokenizer.encode(flags.prompt, !flags.no_special);
  fit_max_tokens(options, static_cast<std::int64_t>(prompt.size()), *model.decoder);
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
    if (text.empty()) fail(nothing_to_show(tokenizer, options, tokens));
    std::cout << "\n";
    return;
  }
  if (text.empty()) context.progress.message("note: " + nothing_to_show(tokenizer, options, tokens));
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
  flags->options.max_tokens = 0;  // not given
  add_integer(command, "--max-tokens", flags->options.max_tokens, 1, kMostCount,
              "tokens to generate at most (default: 128, or what is left of the model's positions)");
  add_real(command, "--temperature", flags->options.temperature, 0.0, 1e6, "0: always the most likely token")
      ->default_str("0");
  add_real(command, "--top-p", flags->options.top_p, 0.0, 1.0,
           "sample among the most likely tokens of this probability")
      ->default_str("1");
  command.add_flag("--no-special", flags->no_special, "no special tokens around the prompt");
  command.add_option("--compute-dtype", flags->compute_dtype, "matrix products in float32, bfloat16 or auto")
      ->capture_default_str();
  return [flags](Context& context) { run_generate(*flags, context); };
}

}  // namespace lrqat::cli
