#include "lrqat/ops/matrix_source.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {

at::Tensor WeightTile::to_float() const {
  return row_scale.defined() ? values * row_scale.unsqueeze(1) : values.to(at::kFloat);
}

std::int64_t tile_rows(std::int64_t in_features, at::Device device) {
  return backend_of(device).tile_rows(in_features);
}

std::int64_t CpuBackend::tile_rows(std::int64_t in_features) const {
  constexpr std::int64_t kTileBytes = 1 << 20;
  const std::int64_t rows = kTileBytes / (4 * std::max<std::int64_t>(in_features, 1));
  return std::clamp<std::int64_t>(rows / 32 * 32, 64, 512);
}

}  // namespace lrqat::ops
