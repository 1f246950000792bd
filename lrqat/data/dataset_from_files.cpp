// Tokenizes documents and joins them: the only part of a data set that needs a tokenizer.
#include "lrqat/base/error.h"
#include "lrqat/data/dataset.h"

namespace lrqat::data {
namespace {

std::vector<std::vector<std::string>> read_all(const std::vector<std::filesystem::path>& files) {
  std::vector<std::vector<std::string>> documents;
  documents.reserve(files.size());
  for (const auto& file : files) documents.push_back(read_documents(file));
  return documents;
}

std::int64_t total_bytes(const std::vector<std::vector<std::string>>& files) {
  std::size_t bytes = 0;
  for (const auto& documents : files) {
    for (const std::string& document : documents) bytes += document.size();
  }
  return static_cast<std::int64_t>(bytes);
}

// With what the tokenizer's template puts around a text, and one end-of-text token at the end.
void append_document(std::vector<std::int32_t>& tokens, const std::string& document,
                     const text::Tokenizer& tokenizer) {
  const std::vector<std::int32_t> ids = tokenizer.encode(document);
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  const auto end_of_text = tokenizer.eos_token_id();
  if (end_of_text && (ids.empty() || ids.back() != *end_of_text)) tokens.push_back(*end_of_text);
}

}  // namespace

PackedDataset PackedDataset::from_files(const std::vector<std::filesystem::path>& files,
                                        const text::Tokenizer& tokenizer, std::int64_t sequence_length,
                                        ProgressReporter& progress) {
  if (files.empty()) throw UsageError("no training text: name at least one file");
  const auto documents = read_all(files);
  std::vector<std::int32_t> tokens;
  progress.start("tokenizing", total_bytes(documents));
  std::int64_t done = 0;
  for (const auto& of_file : documents) {
    for (const std::string& document : of_file) {
      append_document(tokens, document, tokenizer);
      done += static_cast<std::int64_t>(document.size());
      progress.update(done, concat(tokens.size(), " tokens"));
    }
  }
  progress.finish();
  return {std::move(tokens), sequence_length};
}

}  // namespace lrqat::data
