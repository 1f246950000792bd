#include "lrqat/ops/quantize_tokens.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "lrqat/kernels/quantize_rows.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

static_assert(kSmallestActivationScale == kernels::kSmallestActivationScale);

float largest_code(int num_bits) { return static_cast<float>((1 << num_bits) - 1); }

}  // namespace

QuantizedActivation quantize_activation(const at::Tensor& x, const at::Tensor& scale,
                                        const at::Tensor& zero_point, int quant_min, int quant_max) {
  const at::Tensor rounded = (x / scale).round_() + zero_point;
  const at::Tensor codes = rounded.clamp(quant_min, quant_max);
  return {(codes - zero_point).mul_(scale), codes, scale, zero_point, codes.eq(rounded)};
}

QuantizedActivation quantize_tokens(const at::Tensor& x, int num_bits) {
  const float largest = largest_code(num_bits);
  const auto [low, high] = x.detach().aminmax(-1, /*keepdim=*/true);
  const at::Tensor scale = ((high - low) / largest).clamp_min_(kSmallestActivationScale);
  return quantize_activation(x.detach(), scale, -low / scale, 0, static_cast<int>(largest));
}

at::Tensor quantized_tokens(const at::Tensor& x, int num_bits, at::Tensor* mask) {
  return backend_of(x).quantized_tokens(x, num_bits, mask);
}

at::Tensor CpuBackend::quantized_tokens(const at::Tensor& x, int num_bits, at::Tensor* mask) const {
  if (x.size(-1) == 0) return Backend::quantized_tokens(x, num_bits, mask);
  const at::Tensor in = x.detach().contiguous();
  at::Tensor values = at::empty_like(in);
  if (mask != nullptr) *mask = at::empty(in.sizes(), in.options().dtype(at::kBool));
  const std::int64_t cols = in.size(-1);
  auto* inside = mask == nullptr ? nullptr : static_cast<std::uint8_t*>(mask->mutable_data_ptr());
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, (1 << 14) / cols);
  at::parallel_for(0, in.numel() / cols, rows_at_once, [&](std::int64_t begin, std::int64_t end) {
    kernels::quantize_rows(in.const_data_ptr<float>(), begin, end, cols, largest_code(num_bits),
                           values.mutable_data_ptr<float>(), inside);
  });
  return values;
}

}  // namespace lrqat::ops
