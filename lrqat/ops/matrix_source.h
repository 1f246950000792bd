// Any weight Ŵ as the ops of this folder see it. N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "lrqat/ops/compute_type.h"
#include "lrqat/ops/device.h"
#include "lrqat/ops/stored_weight.h"

namespace lrqat::ops {

// Rows [row_begin, row_end) of Ŵ as an operand: Ŵ = row_scale ⊙ values, or values alone where row_scale is
// not defined. values [rows, K] of the compute type, row_scale [rows] float32. May be a view of the
// weight's own storage: not to be written to.
struct WeightTile {
  at::Tensor values;
  at::Tensor row_scale;

  at::Tensor to_float() const;  // these rows of Ŵ, float32; may be `values` itself
};

class MatrixSource {
 public:
  virtual ~MatrixSource() = default;

  virtual std::int64_t out_features() const = 0;
  virtual std::int64_t in_features() const = 0;
  virtual at::Device device() const = 0;

  // Ŵ[row_begin:row_end, :].
  virtual WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end, ComputeType compute) const = 0;

  // Ŵ as kernels read it, so that they make its blocks themselves; nothing where there is no such form, and
  // then products go through make_tile.
  virtual std::optional<StoredWeight> stored_form() const { return std::nullopt; }
};

// Output rows a tile: so many that a float32 tile of K columns stays around 1 MiB, in the second-level cache;
// elsewhere than on a CPU 256 MiB, since there every operation on a tile costs a launch.
std::int64_t tile_rows(std::int64_t in_features, at::Device device);

// Calls visit(row_begin, row_end) for the tiles of an [N, K] weight, in order.
template <typename Visit>
void for_each_tile(std::int64_t out_features, std::int64_t in_features, const Visit& visit,
                   at::Device device = at::kCPU) {
  const std::int64_t step = tile_rows(in_features, device);
  for (std::int64_t begin = 0; begin < out_features; begin += step) {
    visit(begin, begin + step < out_features ? begin + step : out_features);
  }
}

}  // namespace lrqat::ops
