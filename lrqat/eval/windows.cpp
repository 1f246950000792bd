#include "lrqat/eval/windows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "lrqat/base/error.h"

namespace lrqat::eval {

Windows::Windows(const ScoredText& text, const WindowOptions& options)
    : text_(text), context_(options.context) {
  LRQAT_CHECK(text.scored.empty() || text.scored.size() == text.tokens.size());
  if (options.context < 2) fail("`context` ", options.context, ": a window needs at least 2 tokens");
  if (options.stride_windows < 1) fail("`stride-windows` ", options.stride_windows, ": expected 1 or more");
  const auto size = static_cast<std::int64_t>(text.tokens.size());
  if (size < context_) {
    fail("the text has ", size, " tokens, fewer than one window of `context` ", context_,
         "; use a longer text or a smaller `context`");
  }
  std::int64_t looked_at = 0;
  for (std::int64_t window = 0; (window + 1) * context_ <= size; window += options.stride_windows) {
    if (options.max_windows > 0 && looked_at++ == options.max_windows) break;
    const std::int64_t start = window * context_;
    std::int64_t scored = 0;
    for (std::int64_t token = start + 1; token < start + context_; ++token)
      scored += is_scored(token) ? 1 : 0;
    if (scored == 0) continue;
    starts_.push_back(start);
    scored_.push_back(scored);
  }
  if (!starts_.empty()) return;
  fail("no token of an answer lies in the windows of `context` ", context_,
       ": all are tokens of prompts, which are not scored; give more examples or another `context`");
}

std::int64_t Windows::scored_tokens() const {
  return std::accumulate(scored_.begin(), scored_.end(), std::int64_t{0});
}

at::Tensor Windows::batch(std::int64_t begin, std::int64_t end) const {
  at::Tensor out = at::empty({end - begin, context_}, at::kLong);
  for (std::int64_t i = begin; i < end; ++i) {
    const auto* first = text_.tokens.data() + starts_.at(static_cast<std::size_t>(i));
    std::copy_n(first, context_, out.data_ptr<std::int64_t>() + (i - begin) * context_);
  }
  return out;
}

at::Tensor Windows::scored_rows(std::int64_t begin, std::int64_t end) const {
  if (text_.scored.empty()) return {};
  std::vector<std::int64_t> rows;
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t start = starts_.at(static_cast<std::size_t>(i));
    for (std::int64_t row = 0; row < context_ - 1; ++row) {
      if (is_scored(start + row + 1)) rows.push_back((i - begin) * (context_ - 1) + row);
    }
  }
  return at::tensor(rows, at::kLong);
}

std::int64_t Windows::batch_size() const {
  constexpr std::int64_t kTokens = 512;
  return std::max<std::int64_t>(1, kTokens / context_);
}

at::Tensor scored_hidden(const model::Decoder& decoder, const at::Tensor& batch, const at::Tensor& rows) {
  const at::Tensor hidden = decoder.forward(batch);
  const at::Tensor all = hidden.narrow(1, 0, batch.size(1) - 1).reshape({-1, hidden.size(2)});
  return rows.defined() ? all.index_select(0, rows.to(all.device())) : all;
}

at::Tensor scored_targets(const at::Tensor& batch, const at::Tensor& rows) {
  const at::Tensor all = batch.narrow(1, 1, batch.size(1) - 1).reshape({-1});
  return rows.defined() ? all.index_select(0, rows) : all;
}

}  // namespace lrqat::eval
