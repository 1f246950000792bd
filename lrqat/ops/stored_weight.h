// Ŵ as it is stored: what kernels make its blocks from, in tensors of any device (docs/method.md section 2),
//     z = Φ0 + γ·A·B      q = clip(round(z), quant_min, quant_max)      Ŵ = s·(q - zero_point)
// or, of a float weight, Ŵ = z. N out_features, K in_features, R rank, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lrqat::ops {

struct LowRankTerm {
  at::Tensor lora_a;  // float32 [N, R], contiguous; undefined: no low-rank term
  at::Tensor lora_b;  // float32 [R, K], contiguous
  float lora_scaling = 1.0F;
  bool round_separately = false;  // the integer variant: q = clip(Φ0 + round(γ·A·B))
  bool bfloat16_product = false;  // γ·A·B formed in bfloat16
};

struct StoredWeight {
  // Φ0: float32, bfloat16, float16 or int8 [N, K]; uint8 [N, ceil(K / 2)]: two codes a byte, low nibble
  // first, stored as code + 8.
  at::Tensor phi_0;
  std::int64_t in_features = 0;
  float unit = 1.0F;  // of int8: value = code · unit
  LowRankTerm low_rank{};
  bool is_float = false;  // Ŵ = z; what follows is not used
  int quant_min = 0;
  int quant_max = 0;
  at::Tensor scale{};       // float32, contiguous, [1, 1], [N, 1] or [N, G]
  at::Tensor zero_point{};  // int8, shaped like the scale; undefined: 0

  std::int64_t out_features() const { return phi_0.size(0); }
  // Rows [row_begin, row_end) as a weight of its own; the same memory.
  StoredWeight rows(std::int64_t row_begin, std::int64_t row_end) const;
  // What products with the codes in bfloat16 must be multiplied by, float32 [N]; undefined: nothing, because
  // the weight is float or a row has several scales.
  at::Tensor row_scale() const;
};

// A float weight [N, K], contiguous: float32, bfloat16 or float16.
StoredWeight stored_float(const at::Tensor& weight);

// Rows [row_begin, row_end) of a tensor shaped like a scale; [1, 1] stays.
at::Tensor scale_rows(const at::Tensor& per_scale, std::int64_t row_begin, std::int64_t row_end);

// Φ0, float32 [N, K].
at::Tensor decode(const StoredWeight& weight);

// Codes int8 [N, K] from -8 to 7, two a byte: uint8 [N, ceil(K / 2)], on the codes' device; and back.
at::Tensor pack_int4(const at::Tensor& codes);
at::Tensor unpack_int4(const at::Tensor& packed, std::int64_t in_features);

}  // namespace lrqat::ops
