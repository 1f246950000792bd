#include "lrqat/ops/matrix_source.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace lrqat::ops {

at::Tensor WeightTile::to_float() const {
  return row_scale.defined() ? values * row_scale.unsqueeze(1) : values.to(at::kFloat);
}

std::int64_t tile_rows(std::int64_t in_features, at::Device device) {
  constexpr std::int64_t kTileBytes = 1 << 20, kDeviceTileBytes = 256 << 20;
  const std::int64_t rows =
      (device.is_cpu() ? kTileBytes : kDeviceTileBytes) / (4 * std::max<std::int64_t>(in_features, 1));
  if (!device.is_cpu()) return std::max<std::int64_t>(rows, 1);
  return std::clamp<std::int64_t>(rows / 32 * 32, 64, 512);
}

}  // namespace lrqat::ops
