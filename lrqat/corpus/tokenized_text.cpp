#include "lrqat/corpus/tokenized_text.h"

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/corpus/data_files.h"
#include "lrqat/corpus/read_data.h"
#include "lrqat/corpus/token_mask.h"

namespace lrqat::corpus {
namespace {

using Ids = std::vector<std::int32_t>;

class SequenceBuilder {
 public:
  explicit SequenceBuilder(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void append(const Document& document) {
    const TokenizedDocument added = tokenize(document, tokenizer_);
    tokens_.insert(tokens_.end(), added.tokens.begin(), added.tokens.end());
    scored_.insert(scored_.end(), added.scored.begin(), added.scored.end());
    masked_ = masked_ || !document.scored.empty();
  }
  void begin_stretch(double weight) {
    stretches_.push_back({tokens_.size(), weight});
    weighted_ = weighted_ || weight != 1.0;
  }

  std::size_t size() const { return tokens_.size(); }
  TokenizedText take() {
    if (!masked_) scored_.clear();
    if (!weighted_) stretches_.clear();
    return {std::move(tokens_), std::move(scored_), std::move(stretches_)};
  }

 private:
  const text::Tokenizer& tokenizer_;
  Ids tokens_;
  std::vector<std::uint8_t> scored_;
  std::vector<TokenizedText::Stretch> stretches_;
  bool masked_ = false, weighted_ = false;
};

std::int64_t bytes_of(const std::vector<DataFile>& files) {
  std::uintmax_t bytes = 0;
  for (const DataFile& file : files) {
    std::error_code fault;  // said where the file is opened
    const std::uintmax_t size = std::filesystem::file_size(file.path, fault);
    if (!fault) bytes += size;
  }
  return static_cast<std::int64_t>(bytes);
}

}  // namespace

TokenizedDocument tokenize(const Document& document, const text::Tokenizer& tokenizer) {
  TokenizedDocument out{tokenizer.encode(document.text), {}};
  out.scored = token_mask(document, out.tokens, tokenizer);
  const auto end_of_text = tokenizer.eos_token_id();
  if (!end_of_text || (!out.tokens.empty() && out.tokens.back() == *end_of_text)) return out;
  out.tokens.push_back(*end_of_text);
  out.scored.push_back(document.scored.empty() || document.scored.back().end == document.text.size() ? 1 : 0);
  return out;
}

TokenizedText read_training_text(const std::vector<std::string>& data, const text::Tokenizer& tokenizer,
                                 const ReadOptions& options, ProgressReporter& progress) {
  if (data.empty()) throw UsageError("no training text: name at least one file");
  SequenceBuilder stream(tokenizer);
  const DataFiles found = find_data_files(data);
  progress.start("tokenizing", bytes_of(found.files));
  std::int64_t done = 0;  // bytes of the files before
  read_data(found, options, progress, [&](const DataFile& file, DocumentFile& documents) {
    stream.begin_stretch(file.weight);
    documents.read([&](Document&& document) {
      stream.append(document);
      progress.update(done + documents.position(), concat(stream.size(), " tokens"));
    });
    done += documents.position();
  });
  progress.finish();
  return stream.take();
}

TokenizedText read_evaluation_text(const std::string& data, const text::Tokenizer& tokenizer,
                                   const ReadOptions& options, ProgressReporter& progress) {
  std::vector<Document> documents;
  bool has_prompts = false;
  read_data(find_data_files({data}), options, progress, [&](const DataFile& file, DocumentFile& read) {
    if (file.weight != 1.0)
      throw UsageError(
          concat(quote(data), ": a text to measure on has no weight; leave '=' and the number out"));
    if (!read.has_rows()) return documents.push_back({read.read_whole(), {}});
    read.read([&](Document&& document) {
      has_prompts = has_prompts || !document.scored.empty();
      documents.push_back(std::move(document));
    });
  });
  if (has_prompts) {
    SequenceBuilder stream(tokenizer);
    for (const Document& document : documents) stream.append(document);
    return stream.take();
  }
  std::string joined;
  for (const Document& document : documents)
    joined.append(joined.empty() ? "" : "\n\n").append(document.text);
  return {tokenizer.encode(joined), {}, {}};
}

}  // namespace lrqat::corpus
