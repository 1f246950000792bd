#include "lrqat/text/pre_names.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/text/pre_tokenizer.h"

namespace lrqat::text {
namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4oPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";

// Of names with the same expressions the first is the one that is written.
const std::vector<PreName>& table() {
  static const std::string_view kGpt2 = kGpt2Pattern;
  static const std::vector<PreName> rows = {
      {"gpt-2", {kGpt2}},
      {"mpt", {kGpt2}},
      {"olmo", {kGpt2}},
      {"phi-2", {kGpt2}},
      {"smollm", {kDigit, kGpt2}},
      {"starcoder", {kDigit, kGpt2}},
      {"refact", {kDigit, kGpt2}},
      {"command-r", {kDigit, kGpt2}},
      {"codeshell", {kDigit, kGpt2}},
      {"llama-bpe", {kLlama3Pattern}, /*ignore_merges=*/true, /*add_bos=*/true},
      {"llama3", {kLlama3Pattern}, true, true},
      {"llama-v3", {kLlama3Pattern}, true, true},
      {"qwen2", {kQwen2Pattern}},
      {"tekken", {kTekkenPattern}, /*ignore_merges=*/true, /*add_bos=*/true},
      {"gpt-4o", {kGpt4oPattern}},
  };
  return rows;
}

}  // namespace

const PreName& find_pre_name(std::string_view name, const std::string& where) {
  if (name.empty()) return table().front();
  std::string known;
  for (const PreName& row : table()) {
    if (row.name == name) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  fail(where, ": pre-tokenizer (tokenizer.ggml.pre) ", quote(name), " is not known; known: ", known);
}

const PreName* pre_name_of(std::span<const std::string> patterns, bool ignore_merges) {
  for (const PreName& row : table()) {
    const bool same = std::equal(row.patterns.begin(), row.patterns.end(), patterns.begin(), patterns.end());
    if (same && row.ignore_merges == ignore_merges) return &row;
  }
  return nullptr;
}

}  // namespace lrqat::text
