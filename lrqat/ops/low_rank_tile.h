// Tiles of a stored weight: codes, mask and values of some rows, and their gradient. On the CPU
// kernels::low_rank_tile over the rows with all threads. N rows, K in_features, R rank, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/ops/matrix_source.h"

namespace lrqat::ops {

// What is wanted of a tile.
struct TileOutputs {
  bool codes = false;
  bool mask = false;
  bool values = false;
  bool bfloat16_codes = false;
  bool clipped = false;
};

struct TileTensors {
  at::Tensor codes;           // int8 [N, K]
  at::Tensor mask;            // uint8 [N, K]: 1 where not clipped
  at::Tensor values;          // float32 [N, K]: s·q
  at::Tensor bfloat16_codes;  // bfloat16 [N, K]
  at::Tensor clipped;         // int32 [N]: how many are clipped
};

// Of all rows of `weight` (StoredWeight::rows gives some of them). Zero points take no part.
TileTensors low_rank_tile(const StoredWeight& weight, const TileOutputs& wanted);

// All rows of `weight` as a matrix operand: codes in bfloat16 with the scale apart where each row has one
// scale (exact), otherwise s·q in float32, rounded to bfloat16 when that is the compute type.
WeightTile quantized_tile(const StoredWeight& weight, ComputeType compute);

// grad_weight [N, K] becomes dZ = G·s·mask in place; returns ds of these rows, [N, G], whatever rows share
// their scale.
at::Tensor low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                  const at::Tensor& grad_weight);

// values [rows, K] += γ·A[row_begin:]·B, float32; every entry is summed in the same order whatever the tile
// and the threads.
void add_low_rank_rows(const at::Tensor& values, const at::Tensor& lora_a, const at::Tensor& lora_b,
                       double lora_scaling, std::int64_t row_begin);

}  // namespace lrqat::ops
