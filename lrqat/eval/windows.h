// The windows that perplexity and divergence are measured on, and the loop over their logits: never more than
// a few hundred tokens' logits exist at once. T tokens, H hidden size, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "lrqat/model/decoder.h"

namespace lrqat::eval {

struct WindowOptions {
  std::int64_t context = 2048;
  std::int64_t stride_windows = 1;  // every n-th window
  std::int64_t max_windows = 0;     // 0: all
};

// A text's tokens and which of them are predicted.
struct ScoredText {
  std::span<const std::int32_t> tokens;
  std::span<const std::uint8_t> scored = {};  // one a token, 0: only seen; empty: all are predicted
};

// Non-overlapping windows of `context` tokens from the start of the text; a partial last one is dropped, and
// so are those in which nothing is scored.
class Windows {
 public:
  // Error where not even one window fits, or nothing is scored in any.
  Windows(const ScoredText& text, const WindowOptions& options);

  std::int64_t count() const { return static_cast<std::int64_t>(starts_.size()); }
  std::int64_t context() const { return context_; }
  // Tokens of each window that are scored: never its first.
  std::span<const std::int64_t> scored() const { return scored_; }
  std::int64_t scored_tokens() const;
  // Windows [begin, end) as [end - begin, context] int64.
  at::Tensor batch(std::int64_t begin, std::int64_t end) const;
  // Which of the batch's (end - begin)·(context - 1) predictions count, int64 indices; undefined: all.
  at::Tensor scored_rows(std::int64_t begin, std::int64_t end) const;
  // How many windows go through the model at once: about 512 tokens, whose activations
  // stay in the cache.
  std::int64_t batch_size() const;

 private:
  bool is_scored(std::int64_t token) const {
    return text_.scored.empty() || text_.scored[static_cast<std::size_t>(token)] != 0;
  }

  ScoredText text_;
  std::int64_t context_;
  std::vector<std::int64_t> starts_, scored_;
};

// The final hidden states of a batch that score a token, [rows, H], and the tokens they predict; `rows` as of
// Windows::scored_rows.
at::Tensor scored_hidden(const model::Decoder& decoder, const at::Tensor& batch, const at::Tensor& rows);
at::Tensor scored_targets(const at::Tensor& batch, const at::Tensor& rows);

}  // namespace lrqat::eval
