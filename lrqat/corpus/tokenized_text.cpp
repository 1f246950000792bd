#include "lrqat/corpus/tokenized_text.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/corpus/documents.h"

namespace lrqat::corpus {
namespace {

std::vector<std::vector<Document>> read_all(const std::vector<std::filesystem::path>& files) {
  std::vector<std::vector<Document>> documents;
  documents.reserve(files.size());
  for (const auto& file : files) documents.push_back(read_training_documents(file));
  return documents;
}

std::int64_t total_bytes(const std::vector<std::vector<Document>>& files) {
  std::size_t bytes = 0;
  for (const auto& documents : files) {
    for (const Document& document : documents) bytes += document.text.size();
  }
  return static_cast<std::int64_t>(bytes);
}

class SequenceBuilder {
 public:
  explicit SequenceBuilder(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // With what the tokenizer's template puts around a text, and one end-of-text token at the end.
  void append(const Document& document) {
    std::vector<std::int32_t> ids = tokenizer_.encode(document.text);
    const std::size_t prompt = prompt_tokens(document, ids);
    const auto end_of_text = tokenizer_.eos_token_id();
    if (end_of_text && (ids.empty() || ids.back() != *end_of_text)) ids.push_back(*end_of_text);
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    scored_.insert(scored_.end(), prompt, 0);
    scored_.insert(scored_.end(), ids.size() - prompt, 1);
    masked_ = masked_ || prompt > 0;
  }

  std::size_t size() const { return tokens_.size(); }
  TokenizedText take() {
    if (!masked_) scored_.clear();
    return {std::move(tokens_), std::move(scored_)};
  }

 private:
  // The text is tokenized as a whole, as it will be read; a token across the border belongs to the answer.
  std::size_t prompt_tokens(const Document& document, const std::vector<std::int32_t>& ids) const {
    if (document.prompt_bytes == 0) return 0;
    const auto prompt = tokenizer_.encode(document.text.substr(0, document.prompt_bytes));
    const auto [end, other] = std::mismatch(ids.begin(), ids.end(), prompt.begin(), prompt.end());
    return static_cast<std::size_t>(end - ids.begin());
  }

  const text::Tokenizer& tokenizer_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::uint8_t> scored_;
  bool masked_ = false;
};

}  // namespace

TokenizedText read_training_text(const std::vector<std::filesystem::path>& files, const text::Tokenizer& tokenizer,
                                 ProgressReporter& progress) {
  if (files.empty()) throw UsageError("no training text: name at least one file");
  const auto documents = read_all(files);
  SequenceBuilder stream(tokenizer);
  progress.start("tokenizing", total_bytes(documents));
  std::int64_t done = 0;
  for (const auto& of_file : documents) {
    for (const Document& document : of_file) {
      stream.append(document);
      done += static_cast<std::int64_t>(document.text.size());
      progress.update(done, concat(stream.size(), " tokens"));
    }
  }
  progress.finish();
  return stream.take();
}

TokenizedText read_evaluation_text(const std::filesystem::path& file, const text::Tokenizer& tokenizer) {
  const std::vector<Document> documents = read_training_documents(file);
  const auto has_prompt = [](const Document& document) { return document.prompt_bytes > 0; };
  if (std::none_of(documents.begin(), documents.end(), has_prompt))
    return {tokenizer.encode(read_text(file)), {}};
  SequenceBuilder stream(tokenizer);
  for (const Document& document : documents) stream.append(document);
  return stream.take();
}

}  // namespace lrqat::corpus
