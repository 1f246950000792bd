// The pairs of a bfloat16 weight that is kept as it is (low_rank_tile.h): they lie in memory already, as
// words of one row or of two, and need no decoding.
#pragma once

#include "lrqat/kernels/low_rank_tile.h"

namespace lrqat::kernels {

// Whether `output` wants nothing but pairs of such a weight, and its rows can be read in words.
bool only_copies_pairs(const LowRankTile& tile, const TileOutput& output);
// What low_rank_tile() does, where only_copies_pairs().
void copy_pairs(const LowRankTile& tile, const TileOutput& output);

}  // namespace lrqat::kernels
