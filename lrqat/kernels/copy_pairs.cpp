#include "lrqat/kernels/copy_pairs.h"

#include <algorithm>
#include <cstdint>

#include "lrqat/kernels/target.h"
#include "lrqat/kernels/transpose.h"

namespace lrqat::kernels {

bool only_copies_pairs(const LowRankTile& tile, const TileOutput& output) {
  const auto address = reinterpret_cast<std::uintptr_t>(tile.phi.data);
  const bool stored = tile.is_float && tile.rank == 0 && tile.phi.type == PhiType::bfloat16;
  const bool in_words = address % 4 == 0 && tile.phi.row_bytes % 4 == 0 && tile.col_begin % 2 == 0 &&
                        tile.cols % 2 == 0 && tile.rows % 2 == 0;
  const bool more = output.codes != nullptr || output.mask != nullptr || output.clipped != nullptr ||
                    output.values != nullptr || output.bfloat16_codes != nullptr ||
                    output.transposed != nullptr || output.clipped_entries != nullptr;
  return stored && in_words && !more;
}

LRQAT_KERNEL
void copy_pairs(const LowRankTile& tile, const TileOutput& output) {
  constexpr std::int64_t kRows = 16;  // a cache line of the transposed form
  const std::int64_t stride = tile.phi.row_bytes / 4;
  const auto* words = static_cast<const std::uint32_t*>(tile.phi.data) + tile.col_begin / 2;
  for (std::int64_t row = 0; row < tile.rows && output.transposed_pairs != nullptr; row += kRows) {
    transpose_words(words + row * stride, std::min(kRows, tile.rows - row), tile.cols / 2, stride,
                    output.transposed_pairs + row, output.transposed_stride);
  }
  for (std::int64_t row = 0; row < tile.rows && output.row_pairs != nullptr; row += 2) {
    const auto* even = reinterpret_cast<const std::uint16_t*>(words + row * stride);
    pair_row(even, even + 2 * stride, tile.cols, output.row_pairs + row / 2 * output.row_pairs_stride);
  }
}

}  // namespace lrqat::kernels
