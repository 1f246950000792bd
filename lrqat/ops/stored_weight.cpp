#include "lrqat/ops/stored_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/kernels/pack_int4.h"

namespace lrqat::ops {

at::Tensor scale_rows(const at::Tensor& per_scale, std::int64_t row_begin, std::int64_t row_end) {
  return per_scale.size(0) == 1 ? per_scale : per_scale.slice(0, row_begin, row_end);
}

StoredWeight StoredWeight::rows(std::int64_t row_begin, std::int64_t row_end) const {
  StoredWeight part = *this;
  part.phi_0 = phi_0.slice(0, row_begin, row_end);
  if (low_rank.lora_a.defined()) part.low_rank.lora_a = low_rank.lora_a.slice(0, row_begin, row_end);
  if (scale.defined()) part.scale = scale_rows(scale, row_begin, row_end);
  if (zero_point.defined()) part.zero_point = scale_rows(zero_point, row_begin, row_end);
  return part;
}

at::Tensor StoredWeight::row_scale() const {
  if (is_float || scale.size(1) > 1) return {};
  return scale.size(0) == 1 ? scale.view({1}).expand({out_features()}).contiguous() : scale.squeeze(1);
}

StoredWeight stored_float(const at::Tensor& weight) {
  LRQAT_CHECK(weight.dim() == 2 && weight.is_contiguous() && weight.is_floating_point());
  return {.phi_0 = weight, .in_features = weight.size(1), .is_float = true};
}

at::Tensor decode(const StoredWeight& weight) {
  if (weight.phi_0.scalar_type() != at::kByte) {
    const at::Tensor values = weight.phi_0.to(at::kFloat);
    return weight.phi_0.scalar_type() == at::kChar ? values * weight.unit : values;
  }
  const at::Tensor nibbles =
      at::stack({weight.phi_0.bitwise_and(15), weight.phi_0.bitwise_right_shift(4)}, 2);
  return nibbles.flatten(1).slice(1, 0, weight.in_features).to(at::kFloat) - 8.0F;
}

at::Tensor pack_int4(const at::Tensor& codes) {
  const at::Tensor on_cpu = codes.to(at::kCPU).contiguous();
  at::Tensor packed = at::empty({codes.size(0), kernels::packed_int4_bytes(codes.size(1))}, at::kByte);
  kernels::pack_int4(on_cpu.const_data_ptr<std::int8_t>(), codes.size(0), codes.size(1),
                     packed.mutable_data_ptr<std::uint8_t>());
  return packed.to(codes.device());
}

at::Tensor unpack_int4(const at::Tensor& packed, std::int64_t in_features) {
  const at::Tensor on_cpu = packed.to(at::kCPU).contiguous();
  at::Tensor codes = at::empty({packed.size(0), in_features}, at::kChar);
  kernels::unpack_int4(on_cpu.const_data_ptr<std::uint8_t>(), codes.size(0), in_features,
                       codes.mutable_data_ptr<std::int8_t>());
  return codes.to(packed.device());
}

}  // namespace lrqat::ops
