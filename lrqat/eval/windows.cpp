#include "lrqat/eval/windows.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::eval {

Windows::Windows(std::span<const std::int32_t> tokens, const WindowOptions& options)
    : tokens_(tokens), context_(options.context) {
  if (options.context < 2) fail("--context ", options.context, ": a window needs at least 2 tokens");
  if (options.stride_windows < 1) fail("--stride-windows ", options.stride_windows, ": expected 1 or more");
  const auto size = static_cast<std::int64_t>(tokens.size());
  if (size < context_) {
    fail("the text has ", size, " tokens, fewer than one window of --context ", context_,
         "; use a longer text or a smaller --context");
  }
  for (std::int64_t window = 0; (window + 1) * context_ <= size; window += options.stride_windows) {
    if (options.max_windows > 0 && count() == options.max_windows) break;
    starts_.push_back(window * context_);
  }
}

at::Tensor Windows::batch(std::int64_t begin, std::int64_t end) const {
  at::Tensor out = at::empty({end - begin, context_}, at::kLong);
  for (std::int64_t i = begin; i < end; ++i) {
    const auto* first = tokens_.data() + starts_.at(static_cast<std::size_t>(i));
    std::copy_n(first, context_, out.data_ptr<std::int64_t>() + (i - begin) * context_);
  }
  return out;
}

std::int64_t Windows::batch_size() const {
  constexpr std::int64_t kTokens = 512;
  return std::max<std::int64_t>(1, kTokens / context_);
}

std::int64_t logit_rows(std::int64_t vocab_size) {
  constexpr std::int64_t kBytes = 64 << 20;
  return std::clamp<std::int64_t>(kBytes / (4 * vocab_size), 16, 4096);
}

at::Tensor scored_hidden(const model::Decoder& decoder, const at::Tensor& batch) {
  const at::Tensor hidden = decoder.forward(batch);
  return hidden.narrow(1, 0, batch.size(1) - 1).reshape({-1, hidden.size(2)});
}

at::Tensor scored_targets(const at::Tensor& batch) {
  return batch.narrow(1, 1, batch.size(1) - 1).reshape({-1});
}

}  // namespace lrqat::eval
