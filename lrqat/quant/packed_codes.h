// Codes as they are stored. N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/quant/grid.h"

namespace lrqat::quant {

// Whether two codes of the grid lie in a byte: up to 4 bits.
bool is_packed(const Grid& grid);

// Codes int8 [N, K] as files hold them: themselves, or where is_packed uint8 [N, ceil(K / 2)], low nibble
// first, stored as code + 8.
at::Tensor pack_codes(const at::Tensor& codes, const Grid& grid);
// And back, int8 [N, K].
at::Tensor unpack_codes(const at::Tensor& stored, std::int64_t in_features, const Grid& grid);

}  // namespace lrqat::quant
