#include "lrqat/quant/packed_codes.h"

#include "lrqat/ops/stored_weight.h"

namespace lrqat::quant {

bool is_packed(const Grid& grid) { return grid.num_bits <= 4; }

at::Tensor pack_codes(const at::Tensor& codes, const Grid& grid) {
  return is_packed(grid) ? ops::pack_int4(codes) : codes;
}

at::Tensor unpack_codes(const at::Tensor& stored, std::int64_t in_features, const Grid& grid) {
  return is_packed(grid) ? ops::unpack_int4(stored, in_features) : stored;
}

}  // namespace lrqat::quant
