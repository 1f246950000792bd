// What the parametrisations share besides the fused LR-QAT kernels: parameters spread over a tile, sums over
// the weights of a scale, values of a shifted grid. Plain ATen operations on one tile at a time.
// rows: of the tile, K in_features, R rank, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

// Rows [row_begin, row_end) of a tensor shaped like a scale ([1, 1], [N, 1] or [N, G]), as [rows or 1, G, 1]:
// broadcasts against grouped().
at::Tensor rows_of(const at::Tensor& per_scale, std::int64_t row_begin, std::int64_t row_end);
at::Tensor rows_of(const at::Tensor& scale_of_rows);  // all of them
// [rows, K] seen as [rows, G, K / G]; the same memory.
at::Tensor grouped(const at::Tensor& tile, const at::Tensor& per_scale);
// Σ over the weights of each scale: [rows, G] from [rows, G, K / G].
at::Tensor sum_of_groups(const at::Tensor& grouped_terms);

// Adds the per-row sums dL/dp [rows, G] to the gradient of a parameter shaped like a scale; one that all rows
// share gets their sum.
void add_per_scale_gradient(const at::Tensor& sums, std::int64_t row_begin, const at::Tensor& grad);
void add_per_scale_gradient(const ScaleParameter& scale, const at::Tensor& sums, std::int64_t row_begin,
                            const at::Tensor& grad);

// The share of weights, in steps of the grid, that round to a code beyond its ends. [N, K]
double share_beyond(const at::Tensor& steps, const Grid& grid);
// It as a buffer of a weight that keeps no float weight to tell it from; nothing where it is not known.
std::vector<std::pair<std::string, at::Tensor>> clipped_at_start_buffer(std::optional<double> share);

// Where the grid of a weight lies: value = s·(q - zero_point) + offset. Undefined tensors are zeros.
struct GridShift {
  at::Tensor zero_point;  // whole numbers, any type, shaped like the scale
  at::Tensor offset;      // float32, shaped like the scale
  bool defined() const { return zero_point.defined() || offset.defined(); }
  GridShift rows(std::int64_t row_begin, std::int64_t row_end) const;
};

// Ŵ of codes q [rows, K] (any type), with the scale and shift of these rows, as an operand: whole numbers
// with the scale apart where the product runs in bfloat16 and each row has one scale and no offset (exact),
// otherwise float32 values, rounded to bfloat16 where that is the compute type.
WeightTile tile_of_codes(const at::Tensor& codes, const at::Tensor& scale, const GridShift& shift,
                         ops::ComputeType compute);

// Ŵ as a whole, float32 [N, K]: for preparing, one layer at a time, and for tests.
at::Tensor values_of(const WeightParametrization& weight);

// 1 / sqrt(n · quant_max), n weights sharing a scale: LSQ's factor on the gradients of scale and offset.
double lsq_gradient_scale(std::int64_t weights, const at::Tensor& scale, int quant_max);

// U(-1/sqrt(K), 1/sqrt(K)), [R, K]: Kaiming-uniform with a = sqrt(5), as LoRA starts its first factor.
at::Tensor kaiming_uniform_rows(std::int64_t rank, std::int64_t in_features, std::uint64_t seed);

}  // namespace lrqat::quant
