#include "lrqat/text/json_to_gguf.h"

#include <map>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/text/pre_names.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

// The tokens and types that a GGUF file would hold.
void fill_gguf_tokens(Pipeline& pipeline) {
  GgufVocabulary& gguf = pipeline.gguf;
  for (std::int64_t id = 0; id < pipeline.vocabulary->size(); ++id) {
    const auto token_id = static_cast<std::int32_t>(id);
    if (!pipeline.vocabulary->contains(id)) {
      gguf.tokens.push_back(concat("[PAD", id, "]"));
      gguf.token_types.push_back(static_cast<std::int32_t>(TokenType::kUnused));
      continue;
    }
    gguf.tokens.push_back(pipeline.vocabulary->piece(token_id));
    const AddedToken* added = pipeline.added.find(token_id);
    TokenType type = TokenType::kNormal;
    if (added != nullptr)
      type = added->special ? TokenType::kControl : TokenType::kUserDefined;
    else if (gguf.model == "llama" && byte_of_piece(gguf.tokens.back()) >= 0)
      type = TokenType::kByte;
    gguf.token_types.push_back(static_cast<std::int32_t>(type));
  }
}

// NFC and nothing else: the newer byte-level tokenizers have it, and llama.cpp leaves it out.
bool only_composes(const Json& normalizer) {
  if (!normalizer.is_object()) return false;
  if (normalizer.value("type", Json()) == "NFC") return true;
  const auto members = normalizer.find("normalizers");
  return members != normalizer.end() && members->size() == 1 && only_composes(members->front());
}

void fill_gguf_gpt2(Pipeline& pipeline, const Json& normalizer, bool ignore_merges, const Merges& merges) {
  std::vector<std::string> patterns;
  for (const auto& step : pipeline.pre_tokenizers.steps) {
    const auto pattern = step->as_isolating_pattern();
    if (!pattern) {
      pipeline.gguf_problem = "llama.cpp has no pre-tokenizer that cuts as this one does";
      return;
    }
    if (!pattern->empty()) patterns.push_back(*pattern);
  }
  const PreName* pre = pre_name_of(patterns, ignore_merges);
  if (pre == nullptr || !(pipeline.normalizers.empty() || only_composes(normalizer))) {
    pipeline.gguf_problem = "llama.cpp has no name for this combination of normalizers and pre-tokenizers";
    return;
  }
  if (!pipeline.normalizers.empty()) {
    pipeline.gguf.warnings.push_back(
        "llama.cpp does not compose characters (NFC) as this tokenizer does: decomposed text gets other "
        "tokens");
  }
  pipeline.gguf.model = "gpt2";
  pipeline.gguf.pre = pre->name;
  for (const auto& [left, right] : merges) pipeline.gguf.merges.push_back(left + " " + right);
  fill_gguf_tokens(pipeline);
}

// What a text is before it is cut into pieces; nothing where it is cut into words.
std::optional<std::string> as_one_word(const Pipeline& pipeline, const std::string& text, bool at_start) {
  std::string word = normalize_all(pipeline.normalizers, text, at_start);
  for (const auto& step : pipeline.pre_tokenizers.steps) {
    std::vector<std::string> parts;
    step->split(word, at_start, [&](std::string_view part, bool) { parts.emplace_back(part); });
    if (parts.size() != 1) return std::nullopt;
    word = parts[0];
  }
  return word;
}

// SentencePiece's kind: a piece's score is what its first merge's rank says.
void fill_gguf_llama(Pipeline& pipeline, const Merges& merges) {
  const auto at_start = as_one_word(pipeline, "a  b", true), later = as_one_word(pipeline, "a  b", false);
  const std::string mark(kMetaSpace), bare = "a" + mark + mark + "b";
  if (!at_start || !later || (*at_start != mark + bare && *at_start != bare)) {
    pipeline.gguf_problem = "llama.cpp's SentencePiece kind normalises or cuts otherwise";
    return;
  }
  if (later != at_start) {
    pipeline.gguf.warnings.push_back(
        "llama.cpp puts a space in front of what follows a special token; this tokenizer does so only at the "
        "start");
  }
  pipeline.gguf.model = "llama";
  pipeline.gguf.add_space_prefix = at_start->starts_with(mark);
  fill_gguf_tokens(pipeline);
  std::map<std::string, float> rank;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    rank.try_emplace(merges[i].first + merges[i].second, -static_cast<float>(i) - 1.0F);
  }
  for (const std::string& token : pipeline.gguf.tokens) {
    const auto found = rank.find(token);
    pipeline.gguf.scores.push_back(found == rank.end() ? 0.0F : found->second);
  }
}

}  // namespace

void fill_gguf(Pipeline& pipeline, const Json& normalizer, const MergeBpeOptions& options,
               const Merges& merges) {
  if (options.byte_level) {
    fill_gguf_gpt2(pipeline, normalizer, options.ignore_merges, merges);
  } else if (options.unknown.byte_fallback) {
    fill_gguf_llama(pipeline, merges);
  } else {
    pipeline.gguf_problem = "it is neither byte-level BPE nor SentencePiece's kind";
  }
}

}  // namespace lrqat::text
