// Mistral's tekken.json: byte-level BPE in tiktoken's manner, where a token's rank is its merge's priority.
// It is rewritten as the tokenizer.json that does the same, and loaded as one: pieces in GPT-2's byte
// alphabet, and every cut of a token into two tokens as a merge, by the rank of the whole.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/text/byte_level.h"
#include "lrqat/text/loaders.h"

namespace lrqat::text {
namespace {

// What files without "special_tokens" mean (mistral_common's first list); further ones are <SPECIAL_n>.
constexpr std::array kFirstSpecialTokens = {"<unk>",
                                            "<s>",
                                            "</s>",
                                            "[INST]",
                                            "[/INST]",
                                            "[AVAILABLE_TOOLS]",
                                            "[/AVAILABLE_TOOLS]",
                                            "[TOOL_RESULTS]",
                                            "[/TOOL_RESULTS]",
                                            "[TOOL_CALLS]",
                                            "[IMG]",
                                            "<pad>",
                                            "[IMG_BREAK]",
                                            "[IMG_END]",
                                            "[PREFIX]",
                                            "[MIDDLE]",
                                            "[SUFFIX]",
                                            "[SYSTEM_PROMPT]",
                                            "[/SYSTEM_PROMPT]",
                                            "[TOOL_CONTENT]"};

std::string from_base64(const std::string& text, const std::string& where) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    const std::size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) fail(where, ": token_bytes ", quote(text), " is not base64");
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return bytes;
}

std::vector<std::string> special_tokens(const Json& json, std::int64_t count, const std::string& where) {
  std::vector<std::string> names;
  if (json.contains("special_tokens") && !json["special_tokens"].is_null()) {
    for (const Json& entry : json_get<std::vector<Json>>(json, "special_tokens", where)) {
      names.push_back(json_get<std::string>(entry, "token_str", where + ": special_tokens"));
    }
  } else {
    names.assign(kFirstSpecialTokens.begin(), kFirstSpecialTokens.end());
  }
  if (count < 0) count = std::ssize(names);
  if (std::ssize(names) > count) {
    fail(where, ": ", names.size(), " special tokens, but default_num_special_tokens is ", count);
  }
  while (std::ssize(names) < count) names.push_back(concat("<SPECIAL_", names.size(), ">"));
  return names;
}

// The bytes of the tokens by rank.
std::vector<std::string> ranked_tokens(const Json& json, std::int64_t most, const std::string& where) {
  std::vector<std::string> tokens;
  for (const Json& entry : json_get<std::vector<Json>>(json, "vocab", where)) {
    if (most >= 0 && std::ssize(tokens) >= most) break;
    const auto rank = json_get<std::int64_t>(entry, "rank", where + ": vocab");
    if (rank != std::ssize(tokens)) {
      fail(where, ": vocab: rank ", rank, " stands where ", tokens.size(), " is expected");
    }
    tokens.push_back(from_base64(json_get<std::string>(entry, "token_bytes", where + ": vocab"), where));
    if (tokens.back().empty()) fail(where, ": vocab: the token of rank ", rank, " is empty");
  }
  return tokens;
}

Json merges_of(const std::vector<std::string>& tokens) {
  std::unordered_map<std::string_view, std::size_t> rank;
  for (std::size_t i = 0; i < tokens.size(); ++i) rank.emplace(tokens[i], i);
  Json merges = Json::array();
  for (const std::string& token : tokens) {
    const std::string_view whole = token;
    std::vector<std::array<std::size_t, 2>> cuts;
    for (std::size_t at = 1; at < whole.size(); ++at) {
      const auto left = rank.find(whole.substr(0, at)), right = rank.find(whole.substr(at));
      if (left != rank.end() && right != rank.end()) cuts.push_back({left->second, right->second});
    }
    std::sort(cuts.begin(), cuts.end());
    for (const auto& [left, right] : cuts) {
      merges.push_back({to_byte_level(tokens[left]), to_byte_level(tokens[right])});
    }
  }
  return merges;
}

Json beginning_of_text(const std::vector<std::string>& special) {
  const auto found = std::find(special.begin(), special.end(), "<s>");
  if (found == special.end()) return nullptr;
  const Json ids = Json::array({found - special.begin()}), tokens = Json::array({"<s>"});
  const Json single = {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                       {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", single},
          {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", ids}, {"tokens", tokens}}}}}};
}

}  // namespace

bool is_tekken(const Json& json) {
  return json.is_object() && json.contains("config") && json.contains("vocab") && json["vocab"].is_array();
}

std::shared_ptr<Pipeline> pipeline_from_tekken(const Json& json, const std::string& where,
                                               const TokenizerConfig& beside) {
  const Json config = json_get<Json>(json, "config", where);
  const std::string inside = where + ": config";
  const auto count = json_get_or<std::int64_t>(config, "default_num_special_tokens", -1, inside);
  const std::vector<std::string> special = special_tokens(json, count, where);
  const auto size = json_get_or<std::int64_t>(config, "default_vocab_size", -1, inside);
  const auto tokens = ranked_tokens(json, size < 0 ? -1 : size - std::ssize(special), where);
  Json vocab = Json::object(), added = Json::array();
  for (std::size_t i = 0; i < special.size(); ++i) {
    added.push_back({{"id", i}, {"content", special[i]}, {"special", true}, {"normalized", false}});
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    vocab[to_byte_level(tokens[i])] = special.size() + i;
  }
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", json_get<std::string>(config, "pattern", inside)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return pipeline_from_json(
      {{"added_tokens", added},
       {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
       {"post_processor", beginning_of_text(special)},
       {"decoder", {{"type", "ByteLevel"}}},
       {"model",
        {{"type", "BPE"}, {"ignore_merges", true}, {"vocab", vocab}, {"merges", merges_of(tokens)}}}},
      where, beside);
}

}  // namespace lrqat::text
