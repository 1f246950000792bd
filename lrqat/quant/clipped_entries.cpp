#include "lrqat/quant/clipped_entries.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

namespace lrqat::quant {

void ClippedEntries::append(const at::Tensor& mask, const at::Tensor& clipped, std::int64_t row_begin) {
  const auto* counts = clipped.const_data_ptr<std::int32_t>();
  const auto* bytes = mask.const_data_ptr<std::uint8_t>();
  const std::int64_t width = mask.size(1);
  for (std::int64_t n = 0; n < mask.size(0); ++n) {
    if (counts[n] == 0) continue;
    for (std::int64_t k = 0; k < width; ++k) {
      if (bytes[n * width + k] != 0) continue;
      rows.push_back(static_cast<std::int32_t>(row_begin + n));
      cols.push_back(static_cast<std::int32_t>(k));
    }
  }
}

void subtract_clipped(const ClippedEntries& clipped, const at::Tensor& x, const at::Tensor& scaled,
                      const at::Tensor& a, const at::Tensor& b, double lora_scaling, at::Tensor& grad_a,
                      at::Tensor& grad_b) {
  if (clipped.size() == 0) return;
  // Token-contiguous columns, so that each entry is one dot product over memory in order.
  const at::Tensor x_columns = x.t().contiguous();        // [K, T]
  const at::Tensor dy_columns = scaled.t().contiguous();  // [N, T]
  const std::int64_t tokens = x.size(0);
  at::Tensor values = at::empty({clipped.size()}, at::kFloat);
  auto* g = values.mutable_data_ptr<float>();
  at::parallel_for(0, clipped.size(), 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* dy = dy_columns.const_data_ptr<float>() + clipped.rows[i] * tokens;
      const float* column = x_columns.const_data_ptr<float>() + clipped.cols[i] * tokens;
      float lanes[16] = {};
      std::int64_t t = 0;
      for (; t + 16 <= tokens; t += 16) {
        for (int j = 0; j < 16; ++j) lanes[j] += dy[t + j] * column[t + j];
      }
      for (int j = 0; t < tokens; ++t, ++j) lanes[j] += dy[t] * column[t];
      float sum = 0.0F;
      for (const float lane : lanes) sum += lane;
      g[i] = sum;
    }
  });
  const auto options = at::TensorOptions().dtype(at::kInt);
  const at::Tensor rows =
      at::from_blob(const_cast<std::int32_t*>(clipped.rows.data()), {clipped.size()}, options);
  const at::Tensor cols =
      at::from_blob(const_cast<std::int32_t*>(clipped.cols.data()), {clipped.size()}, options);
  const at::Tensor weight = (values * lora_scaling).unsqueeze(1);
  grad_a.index_add_(0, rows, weight * b.t().index_select(0, cols), -1.0);
  grad_b.index_add_(1, cols, (weight * a.index_select(0, rows)).t(), -1.0);
}

}  // namespace lrqat::quant
