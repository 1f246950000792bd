#include "lrqat/train/packed_dataset.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/ignore_index.h"
#include "lrqat/base/sha256.h"
#include "lrqat/corpus/tokenized_text.h"

namespace lrqat::train {

PackedDataset::PackedDataset(std::vector<std::int32_t> tokens, std::int64_t sequence_length,
                             std::vector<std::uint8_t> scored, std::vector<double> weights)
    : tokens_(std::move(tokens)),
      scored_(std::move(scored)),
      weights_(std::move(weights)),
      sequence_length_(sequence_length) {
  LRQAT_CHECK(scored_.empty() || scored_.size() == tokens_.size());
  if (sequence_length < 2) {
    throw UsageError(concat("sequence length ", sequence_length,
                            ": expected at least 2 tokens, one to see and ", "one to predict"));
  }
  const auto length = static_cast<std::size_t>(sequence_length);
  if (tokens_.size() < length) {
    fail("the training text has ", tokens_.size(), " tokens, less than one sequence of ", sequence_length,
         ": give more text or a smaller `sequence-length`");
  }
  tokens_.resize(tokens_.size() / length * length);
  tokens_.shrink_to_fit();
  if (!scored_.empty()) scored_.resize(tokens_.size());
  LRQAT_CHECK(weights_.empty() || std::ssize(weights_) == size());
  Sha256 hash;
  hash.update(std::as_bytes(std::span(tokens_)));
  hash.update(std::as_bytes(std::span(&sequence_length_, 1)));
  hash.update(std::as_bytes(std::span(scored_)));
  hash.update(std::as_bytes(std::span(weights_)));
  fingerprint_ = hash.hex_digest();
}

namespace {

// Of each whole sequence: that of the stretch in which it begins.
std::vector<double> sequence_weights(const corpus::TokenizedText& text, std::int64_t sequence_length) {
  std::vector<double> weights;
  const auto length = static_cast<std::size_t>(std::max<std::int64_t>(sequence_length, 1));
  auto stretch = text.stretches.begin();
  for (std::size_t token = 0; !text.stretches.empty() && token + length <= text.tokens.size();
       token += length) {
    while (stretch + 1 != text.stretches.end() && (stretch + 1)->begin <= token) ++stretch;
    weights.push_back(stretch->weight);
  }
  return weights;
}

}  // namespace

PackedDataset PackedDataset::from_files(const std::vector<std::string>& data,
                                        const text::Tokenizer& tokenizer, std::int64_t sequence_length,
                                        const corpus::ReadOptions& options, ProgressReporter& progress) {
  corpus::TokenizedText text = corpus::read_training_text(data, tokenizer, options, progress);
  std::vector<double> weights = sequence_weights(text, sequence_length);
  return {std::move(text.tokens), sequence_length, std::move(text.scored), std::move(weights)};
}

PackedDataset PackedDataset::for_evaluation(const std::string& data, const text::Tokenizer& tokenizer,
                                            std::int64_t context, const corpus::ReadOptions& options,
                                            ProgressReporter& progress) {
  corpus::TokenizedText text = corpus::read_evaluation_text(data, tokenizer, options, progress);
  if (static_cast<std::int64_t>(text.tokens.size()) < context) {
    fail(data, ": the text has ", text.tokens.size(), " tokens, fewer than one window of `eval-context` ",
         context, "; give a longer text or a smaller `eval-context`");
  }
  PackedDataset windows(std::move(text.tokens), context, std::move(text.scored));
  if (windows.scored() > 0) return windows;
  fail(data, ": no token of an answer lies in the windows of `eval-context` ", context,
       ": all are tokens of prompts, which are not scored; give more examples or another `eval-context`");
}

std::int64_t PackedDataset::size() const {
  return static_cast<std::int64_t>(tokens_.size()) / sequence_length_;
}

at::Tensor PackedDataset::batch(std::span<const std::int64_t> indices) const {
  const auto rows = static_cast<std::int64_t>(indices.size());
  at::Tensor batch = at::empty({rows, sequence_length_}, at::kLong);
  auto* out = batch.mutable_data_ptr<std::int64_t>();
  for (const std::int64_t index : indices) {
    LRQAT_CHECK(index >= 0 && index < size(), "sequence ", index, " of ", size());
    out = std::copy_n(tokens_.begin() + index * sequence_length_, sequence_length_, out);
  }
  return batch;
}

at::Tensor PackedDataset::targets(std::span<const std::int64_t> indices) const {
  at::Tensor targets = batch(indices);
  if (scored_.empty()) return targets;
  auto* out = targets.mutable_data_ptr<std::int64_t>();
  for (const std::int64_t index : indices) {
    for (std::int64_t i = index * sequence_length_; i < (index + 1) * sequence_length_; ++i, ++out) {
      if (scored_[static_cast<std::size_t>(i)] == 0) *out = kIgnoreIndex;
    }
  }
  return targets;
}

std::int64_t PackedDataset::scored(std::int64_t index) const {
  LRQAT_CHECK(index >= 0 && index < size(), "sequence ", index, " of ", size());
  if (scored_.empty()) return sequence_length_ - 1;
  const auto begin = scored_.begin() + index * sequence_length_;
  return std::count_if(begin + 1, begin + sequence_length_, [](std::uint8_t flag) { return flag != 0; });
}

std::int64_t PackedDataset::scored() const {
  std::int64_t all = 0;
  for (std::int64_t i = 0; i < size(); ++i) all += scored(i);
  return all;
}

double PackedDataset::weight(std::int64_t index) const {
  LRQAT_CHECK(index >= 0 && index < size(), "sequence ", index, " of ", size());
  return weights_.empty() ? 1.0 : weights_[static_cast<std::size_t>(index)];
}

PackedDataset PackedDataset::subset(std::span<const std::int64_t> indices) const {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> flags;
  tokens.reserve(indices.size() * static_cast<std::size_t>(sequence_length_));
  if (!scored_.empty()) flags.reserve(tokens.capacity());
  for (const std::int64_t index : indices) {
    LRQAT_CHECK(index >= 0 && index < size(), "sequence ", index, " of ", size());
    const std::int64_t begin = index * sequence_length_;
    tokens.insert(tokens.end(), tokens_.begin() + begin, tokens_.begin() + begin + sequence_length_);
    if (!scored_.empty())
      flags.insert(flags.end(), scored_.begin() + begin, scored_.begin() + begin + sequence_length_);
  }
  return {std::move(tokens), sequence_length_, std::move(flags)};
}

}  // namespace lrqat::train
