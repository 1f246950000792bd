// The tile kernels on tensors: one call that runs kernels::low_rank_tile over the rows of a tile with all
// threads, or, where the tensors are not on the CPU, the same formulas as ATen operations. N rows of the
// tile, K in_features, R rank, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/quant/downcast.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

struct LowRankTerm {
  at::Tensor lora_a;  // float32 [out_features, R]; undefined: no low-rank term
  at::Tensor lora_b;  // float32 [R, K]
  float lora_scaling = 1.0F;
  bool round_separately = false;  // the integer variant
  bool bfloat16_product = false;  // γAB formed in bfloat16
};

// What is wanted of a tile.
struct TileWish {
  bool codes = false;
  bool mask = false;
  bool values = false;
  bool bfloat16_codes = false;
  bool clipped = false;
};

struct TileTensors {
  at::Tensor codes;           // int8 [rows, K]
  at::Tensor mask;            // uint8 [rows, K]: 1 where not clipped
  at::Tensor values;          // float32 [rows, K]: s·q
  at::Tensor bfloat16_codes;  // bfloat16 [rows, K]
  at::Tensor clipped;         // int32 [rows]: how many are clipped
};

// Here and below: scale of the tile's rows, [rows, 1] or [rows, G], or [1, 1] where all rows share it.
TileTensors low_rank_tile(const Phi0& phi_0, const LowRankTerm& term, const Grid& grid,
                          const at::Tensor& scale, std::int64_t row_begin, std::int64_t row_end,
                          const TileWish& wish);

// The ATen form, for any device; low_rank_tile calls it where phi_0 is not on the CPU.
TileTensors low_rank_tile_aten(const Phi0& phi_0, const LowRankTerm& term, const Grid& grid,
                               const at::Tensor& scale, std::int64_t row_begin, std::int64_t row_end,
                               const TileWish& wish);

// The tile as a matrix operand: codes in bfloat16 with the scale apart where each row has one scale (exact),
// otherwise s·q in float32, rounded to bfloat16 when that is the compute type.
WeightTile quantized_tile(const Phi0& phi_0, const LowRankTerm& term, const Grid& grid,
                          const at::Tensor& scale, std::int64_t row_begin, std::int64_t row_end,
                          ops::ComputeType compute);

// The whole weight, with all its scales, for block products, s·(q - zero_point) where that is defined (int8,
// shaped like the scale); nothing where phi_0 is not on the CPU or, for bfloat16, a side is odd.
std::optional<ops::OperandSource> low_rank_operand(const Phi0& phi_0, const LowRankTerm& term,
                                                   const Grid& grid, const at::Tensor& scale,
                                                   ops::ComputeType compute,
                                                   const at::Tensor& zero_point = {});

// grad_weight [rows, K] becomes dZ = G·s·mask in place; returns ds of these rows, [rows, G].
at::Tensor low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                  const at::Tensor& grad_weight);
at::Tensor low_rank_tile_gradient_aten(const TileTensors& tile, const at::Tensor& scale,
                                       const at::Tensor& grad_weight);

}  // namespace lrqat::quant
