#include "lrqat/kernels/pack_int4.h"

namespace lrqat::kernels {

void pack_int4(const std::int8_t* codes, std::int64_t rows, std::int64_t cols, std::uint8_t* packed) {
  for (std::int64_t n = 0; n < rows; ++n) {
    const std::int8_t* row = codes + n * cols;
    std::uint8_t* out = packed + n * packed_int4_bytes(cols);
    for (std::int64_t k = 0; k < cols; k += 2) {
      const int low = row[k] + 8;
      const int high = k + 1 < cols ? row[k + 1] + 8 : 8;
      out[k / 2] = static_cast<std::uint8_t>(low | (high << 4));
    }
  }
}

void unpack_int4(const std::uint8_t* packed, std::int64_t rows, std::int64_t cols, std::int8_t* codes) {
  for (std::int64_t n = 0; n < rows; ++n) {
    const std::uint8_t* row = packed + n * packed_int4_bytes(cols);
    for (std::int64_t k = 0; k < cols; ++k) {
      const int nibble = k % 2 == 0 ? row[k / 2] & 15 : row[k / 2] >> 4;
      codes[n * cols + k] = static_cast<std::int8_t>(nibble - 8);
    }
  }
}

}  // namespace lrqat::kernels
