// lrqat tokenize: lines of text to ids and back, and data as training sees it.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/standard_output.h"
#include "lrqat/corpus/read_data.h"
#include "lrqat/corpus/tokenized_text.h"
#include "lrqat/model/tokenizer_files.h"
#include "lrqat/train/run.h"

namespace lrqat::cli {
namespace {

struct TokenizeFlags {
  std::string model;
  std::string tokenizer;
  bool decode = false;
  bool no_special = false;
  std::vector<std::string> data;
  std::string data_format = "auto";
};

using Ids = std::vector<std::int32_t>;

text::Tokenizer load(const TokenizeFlags& flags) {
  if (flags.model.empty() == flags.tokenizer.empty()) {
    throw UsageError(
        "give either --model (a model with its tokenizer) or --tokenizer (a tokenizer's file or folder)");
  }
  return model::load_model_tokenizer(flags.model.empty() ? std::filesystem::path(flags.tokenizer)
                                                         : train::base_model(flags.model));
}

std::optional<std::int64_t> read_id(const std::string& word) {
  std::int64_t id = 0;
  const auto [end, fault] = std::from_chars(word.data(), word.data() + word.size(), id);
  return fault == std::errc{} && end == word.data() + word.size() ? std::optional(id) : std::nullopt;
}

Ids parse_ids(const std::string& line, bool json, std::int64_t vocabulary, const std::string& where) {
  Ids ids;
  const auto add = [&](std::optional<std::int64_t> id, const std::string& word) {
    if (!id || *id < 0 || *id >= vocabulary) {
      fail(where, ": ", quote(word), " is no token id: expected whole numbers from 0 to ", vocabulary - 1);
    }
    ids.push_back(static_cast<std::int32_t>(*id));
  };
  if (json) {
    const Json list = parse_json(line, where);
    if (!list.is_array()) fail(where, ": expected a JSON list of ids");
    for (const Json& member : list) add(detail::whole_number<std::int64_t>(member), json_excerpt(member));
    return ids;
  }
  std::istringstream words(line);
  for (std::string word; words >> word;) add(read_id(word), word);
  return ids;
}

void print_ids(const Ids& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i) std::cout << (i == 0 ? "" : " ") << ids[i];
  std::cout << "\n";
}

// With --json each line is a JSON document of its own, so texts may hold line ends.
void tokenize_line(const TokenizeFlags& flags, const text::Tokenizer& tokenizer, const std::string& line,
                   const std::string& where, bool json) {
  if (flags.decode) {
    const std::string text =
        tokenizer.decode(parse_ids(line, json, tokenizer.vocab_size(), where), flags.no_special);
    std::cout << (json ? json_text(Json(text)) : text) << "\n";
    return;
  }
  std::string text = line;
  if (json) {
    const Json string = parse_json(line, where);
    if (!string.is_string()) fail(where, ": expected a JSON string");
    check_json_value(string, "the text", where);
    text = string.get<std::string>();
  }
  const Ids ids = tokenizer.encode(text, !flags.no_special);
  if (json) {
    std::cout << Json(ids).dump() << "\n";
  } else {
    print_ids(ids);
  }
}

// The text of an example, ⟦ and ⟧ around what is scored.
std::string marked(const corpus::TokenizedDocument& example, const text::Tokenizer& tokenizer) {
  std::string text;
  for (std::size_t begin = 0, end = 0; begin < example.tokens.size(); begin = end) {
    while (end < example.tokens.size() && example.scored[end] == example.scored[begin]) ++end;
    const std::span<const std::int32_t> part = std::span(example.tokens).subspan(begin, end - begin);
    const std::string decoded = tokenizer.decode_part(part, /*skip_special_tokens=*/false, begin == 0);
    text += example.scored[begin] != 0 ? "⟦" + decoded + "⟧" : decoded;
  }
  return text;
}

void tokenize_data(const TokenizeFlags& flags, const text::Tokenizer& tokenizer, Context& context) {
  if (flags.decode || flags.no_special)
    throw UsageError("--data shows what training sees; leave --decode and --no-special out");
  corpus::check_data_format(flags.data_format, "data-format");
  const corpus::ReadOptions options{.format = flags.data_format};
  corpus::read_data(corpus::find_data_files(flags.data), options, context.progress,
                    [&](const corpus::DataFile&, corpus::DocumentFile& documents) {
                      documents.read([&](corpus::Document&& document) {
                        const corpus::TokenizedDocument example = corpus::tokenize(document, tokenizer);
                        if (context.options.json) {
                          std::cout << Json{{"ids", example.tokens}, {"mask", example.scored}}.dump() << "\n";
                        } else {
                          std::cout << marked(example, tokenizer) << "\n\n";
                        }
                        check_standard_output();
                      });
                    });
}

}  // namespace

Action declare_tokenize(CLI::App& command) {
  auto flags = std::make_shared<TokenizeFlags>();
  command.add_option("--model", flags->model,
                     "a model: Hugging Face folder, GGUF file, run or converted folder");
  command.add_option("--tokenizer", flags->tokenizer,
                     "tokenizer.json, tokenizer.model, a GGUF file, … or a folder with one");
  command.add_flag("--decode", flags->decode, "lines of ids in, text out");
  command.add_flag("--no-special", flags->no_special,
                   "add no special tokens; with --decode leave them out of the text");
  command.add_option(
      "--data", flags->data,
      "files, folders or quoted patterns instead of lines: their examples as training sees them, with "
      "--json an object a line, \"ids\" and \"mask\" (1: scored), else as text with ⟦scored⟧ parts");
  command
      .add_option("--data-format", flags->data_format,
                  "what they hold, where more than one layout could be read")
      ->capture_default_str();
  return [flags](Context& context) {
    const text::Tokenizer tokenizer = load(*flags);
    if (!flags->data.empty()) return tokenize_data(*flags, tokenizer, context);
    std::int64_t number = 0;
    for (std::string line; std::getline(std::cin, line);) {
      tokenize_line(*flags, tokenizer, line, concat("line ", ++number), context.options.json);
      check_standard_output();
    }
    if (std::cin.bad() || std::ferror(stdin) != 0) fail("standard input cannot be read to its end");
  };
}

}  // namespace lrqat::cli
