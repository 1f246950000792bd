// Runs a Pipeline in the order of Hugging Face `tokenizers`: added tokens that are looked for in the raw
// text, then for each stretch between them normalizers, added tokens of the normalised text, pre-tokenizers,
// model.
#include "lrqat/text/tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/text/pipeline.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

// One call of encode: the ids so far, and the words seen.
class Encoding {
 public:
  explicit Encoding(const Pipeline& pipeline) : pipeline_(pipeline) {}

  void add_raw(std::string_view text) {
    for (const AddedTokens::Part& part : pipeline_.added.split(text, /*normalized=*/false)) {
      if (part.id) {
        ids_.push_back(*part.id);
      } else {
        add_stretch(text.substr(part.span.begin, part.span.end - part.span.begin), part.span.begin == 0);
      }
    }
  }
  std::vector<std::int32_t> take() { return std::move(ids_); }
  void append(const std::vector<std::int32_t>& ids) { ids_.insert(ids_.end(), ids.begin(), ids.end()); }

 private:
  void add_stretch(std::string_view raw, bool at_start) {
    if (pipeline_.normalizers.empty()) return add_normalized(raw, at_start);
    add_normalized(normalize_all(pipeline_.normalizers, raw, at_start), at_start);
  }

  void add_normalized(std::string_view text, bool at_start) {
    for (const AddedTokens::Part& part : pipeline_.added.split(text, /*normalized=*/true)) {
      if (part.id) {
        ids_.push_back(*part.id);
      } else {
        pre_tokenize(text.substr(part.span.begin, part.span.end - part.span.begin),
                     at_start && part.span.begin == 0, 0);
      }
    }
  }

  void pre_tokenize(std::string_view text, bool at_start, std::size_t step) {
    if (step == pipeline_.pre_tokenizers.steps.size()) return add_word(text);
    pipeline_.pre_tokenizers.steps[step]->split(
        text, at_start, [&](std::string_view part, bool start) { pre_tokenize(part, start, step + 1); });
  }

  void add_word(std::string_view word) {
    if (!pipeline_.model->words_repeat()) return pipeline_.model->encode(word, ids_);
    const auto [entry, is_new] = seen_.try_emplace(std::string(word));
    if (is_new) pipeline_.model->encode(word, entry->second);
    append(entry->second);
  }

  const Pipeline& pipeline_;
  std::vector<std::int32_t> ids_;
  std::unordered_map<std::string, std::vector<std::int32_t>> seen_;
};

}  // namespace

std::optional<std::int32_t> id_of_piece(const Pipeline& pipeline, std::string_view piece) {
  if (piece.empty()) return std::nullopt;
  return pipeline.vocabulary->id_of(piece);
}

Tokenizer::Tokenizer(std::shared_ptr<const Pipeline> pipeline) : pipeline_(std::move(pipeline)) {
  LRQAT_CHECK(pipeline_ && pipeline_->vocabulary && pipeline_->model);
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  Encoding encoding(*pipeline_);
  if (add_special_tokens) encoding.append(pipeline_->prefix);
  if (is_valid_utf8(text)) {
    encoding.add_raw(text);
  } else {
    encoding.add_raw(replace_invalid_utf8(text));
  }
  if (add_special_tokens) encoding.append(pipeline_->suffix);
  return encoding.take();
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  return decode_part(ids, skip_special_tokens, /*at_start=*/true);
}

std::string Tokenizer::decode_part(std::span<const std::int32_t> ids, bool skip_special_tokens,
                                   bool at_start) const {
  std::vector<std::string> pieces;
  for (const std::int32_t id : ids) {
    if (!pipeline_->vocabulary->contains(id) || (skip_special_tokens && is_special(id))) continue;
    const bool added = pipeline_->added.find(id) != nullptr;
    pieces.push_back(added ? pipeline_->added.decoded(id) : pipeline_->vocabulary->piece(id));
  }
  for (const auto& decoder : pipeline_->decoders) decoder->decode(pieces, at_start);
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return is_valid_utf8(text) ? text : replace_invalid_utf8(text);
}

bool Tokenizer::is_streamable() const {
  return std::all_of(pipeline_->decoders.begin(), pipeline_->decoders.end(),
                     [](const auto& decoder) { return decoder->is_streamable(); });
}

std::int64_t Tokenizer::vocab_size() const { return pipeline_->vocabulary->size(); }
std::optional<std::int32_t> Tokenizer::bos_token_id() const { return pipeline_->bos_token_id; }
std::optional<std::int32_t> Tokenizer::eos_token_id() const { return pipeline_->eos_token_id; }
std::optional<std::int32_t> Tokenizer::unk_token_id() const { return pipeline_->unk_token_id; }
std::optional<std::int32_t> Tokenizer::pad_token_id() const { return pipeline_->pad_token_id; }

std::optional<std::string> Tokenizer::id_to_piece(std::int32_t id) const {
  if (!pipeline_->vocabulary->contains(id)) return std::nullopt;
  return pipeline_->vocabulary->piece(id);
}

std::optional<std::int32_t> Tokenizer::piece_to_id(std::string_view piece) const {
  return pipeline_->vocabulary->id_of(piece);
}

bool Tokenizer::is_special(std::int32_t id) const {
  const AddedToken* token = pipeline_->added.find(id);
  return token != nullptr && token->special;
}

const std::string& Tokenizer::chat_template() const { return pipeline_->chat_template; }

GgufVocabulary Tokenizer::to_gguf(std::int64_t padded_size) const {
  if (!pipeline_->gguf_problem.empty()) {
    fail(pipeline_->where, ": this tokenizer cannot be written to a GGUF file: ", pipeline_->gguf_problem);
  }
  GgufVocabulary out = pipeline_->gguf;
  for (auto id = static_cast<std::int64_t>(out.tokens.size()); id < padded_size; ++id) {
    out.tokens.push_back(concat("[PAD", id, "]"));
    if (!out.scores.empty()) out.scores.push_back(-1000.0F);
    if (!out.token_types.empty()) out.token_types.push_back(static_cast<std::int32_t>(TokenType::kUnused));
  }
  return out;
}

TokenStream::TokenStream(Tokenizer tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string TokenStream::add(std::int32_t id) {
  ids_.push_back(id);
  if (!tokenizer_.is_streamable()) return {};
  const std::string text = tokenizer_.decode_part(ids_, skip_special_tokens_, at_start_);
  std::size_t certain = text.size();  // U+FFFD at the end may become a character when its other bytes come
  while (certain >= emitted_ + kReplacementCharacter.size() &&
         std::string_view(text).substr(0, certain).ends_with(kReplacementCharacter)) {
    certain -= kReplacementCharacter.size();
  }
  std::string out = text.substr(emitted_, certain - emitted_);
  emitted_ = certain;
  if (certain == text.size() && certain > 0) {  // nothing is open: the next ids start afresh
    ids_.clear();
    emitted_ = 0;
    at_start_ = false;
  }
  return out;
}

std::string TokenStream::finish() {
  const std::string text = tokenizer_.decode_part(ids_, skip_special_tokens_, at_start_);
  std::string out = text.substr(std::min(emitted_, text.size()));
  ids_.clear();
  emitted_ = 0;
  at_start_ = true;
  return out;
}

}  // namespace lrqat::text
