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

// Non-overlapping windows of `context` tokens from the start of the text; a partial last one is dropped.
class Windows {
 public:
  // Error where not even one window fits.
  Windows(std::span<const std::int32_t> tokens, const WindowOptions& options);

  std::int64_t count() const { return static_cast<std::int64_t>(starts_.size()); }
  std::int64_t context() const { return context_; }
  std::int64_t scored_tokens() const { return count() * (context_ - 1); }
  // Windows [begin, end) as [end - begin, context] int64.
  at::Tensor batch(std::int64_t begin, std::int64_t end) const;
  // How many windows go through the model at once: about 512 tokens, whose activations
  // stay in the cache.
  std::int64_t batch_size() const;

 private:
  std::span<const std::int32_t> tokens_;
  std::int64_t context_;
  std::vector<std::int64_t> starts_;
};

// Rows of logits at a time: 64 MiB of float32.
std::int64_t logit_rows(std::int64_t vocab_size);

// The final hidden states of a batch that score a token, [B (context - 1), H], and the tokens they predict.
at::Tensor scored_hidden(const model::Decoder& decoder, const at::Tensor& batch);
at::Tensor scored_targets(const at::Tensor& batch);

}  // namespace lrqat::eval
