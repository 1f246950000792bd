// Two signed 4-bit codes a byte, low nibble first, stored as code + 8 (codes -8 … 7). A row of an odd number
// of codes ends in a byte whose high nibble is 8 (code 0).
#pragma once

#include <cstdint>

namespace lrqat::kernels {

inline std::int64_t packed_int4_bytes(std::int64_t cols) { return (cols + 1) / 2; }

void pack_int4(const std::int8_t* codes, std::int64_t rows, std::int64_t cols, std::uint8_t* packed);
void unpack_int4(const std::uint8_t* packed, std::int64_t rows, std::int64_t cols, std::int8_t* codes);

}  // namespace lrqat::kernels
