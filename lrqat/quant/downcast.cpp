#include "lrqat/quant/downcast.h"

#include <ATen/ATen.h>

#include <array>

#include "lrqat/base/error.h"
#include "lrqat/kernels/pack_int4.h"

namespace lrqat::quant {
namespace {

struct DowncastRow {
  const char* name;
  Downcast downcast;
};

constexpr std::array<DowncastRow, 6> kDowncasts{{{"float32", Downcast::float32},
                                                 {"bfloat16", Downcast::bfloat16},
                                                 {"float16", Downcast::float16},
                                                 {"fixed_point8", Downcast::fixed_point8},
                                                 {"int4", Downcast::int4},
                                                 {"integer", Downcast::integer}}};

bool is_packed(Downcast downcast, const Grid& grid) {
  return downcast == Downcast::int4 ||
         (downcast == Downcast::integer && grid.quant_min >= -8 && grid.quant_max <= 7);
}

kernels::PhiType storage_type(Downcast downcast, const Grid& grid) {
  switch (downcast) {
    case Downcast::float32:
      return kernels::PhiType::float32;
    case Downcast::bfloat16:
      return kernels::PhiType::bfloat16;
    case Downcast::float16:
      return kernels::PhiType::float16;
    case Downcast::fixed_point8:
      return kernels::PhiType::int8;
    case Downcast::int4:
    case Downcast::integer:
      return is_packed(downcast, grid) ? kernels::PhiType::int4 : kernels::PhiType::int8;
  }
  internal_error(__FILE__, __LINE__, "downcast", "");
}

at::ScalarType scalar_type(kernels::PhiType type) {
  switch (type) {
    case kernels::PhiType::float32:
      return at::kFloat;
    case kernels::PhiType::bfloat16:
      return at::kBFloat16;
    case kernels::PhiType::float16:
      return at::kHalf;
    case kernels::PhiType::int8:
      return at::kChar;
    case kernels::PhiType::int4:
      return at::kByte;
  }
  internal_error(__FILE__, __LINE__, "phi type", "");
}

void check_grid(Downcast downcast, const Grid& grid) {
  if (downcast == Downcast::int4 && grid.num_bits > 4) {
    throw UsageError(concat("--phi int4 holds at most 4 bits, not --bits ", grid.num_bits,
                            ": use fixed_point8, integer or a float type"));
  }
}

float unit_of(Downcast downcast, const Grid& grid) {
  return downcast == Downcast::fixed_point8 ? 1.0F / static_cast<float>(1 << (8 - grid.num_bits)) : 1.0F;
}

at::Tensor pack(const at::Tensor& codes) {
  const at::Tensor on_cpu = codes.to(at::kCPU).contiguous();
  at::Tensor packed = at::empty({codes.size(0), kernels::packed_int4_bytes(codes.size(1))}, at::kByte);
  kernels::pack_int4(on_cpu.const_data_ptr<std::int8_t>(), codes.size(0), codes.size(1),
                     packed.mutable_data_ptr<std::uint8_t>());
  return packed.to(codes.device());
}

}  // namespace

Downcast parse_downcast(std::string_view name) {
  std::string known;
  for (const auto& row : kDowncasts) {
    if (row.name == name) return row.downcast;
    known += concat(known.empty() ? "" : ", ", row.name);
  }
  throw UsageError(concat("--phi \"", name, "\" is not known: use one of ", known));
}

std::string downcast_name(Downcast downcast) {
  for (const auto& row : kDowncasts) {
    if (row.downcast == downcast) return row.name;
  }
  internal_error(__FILE__, __LINE__, "downcast", "");
}

Phi0 Phi0::store(const at::Tensor& u, Downcast downcast, const Grid& grid) {
  LRQAT_CHECK(u.dim() == 2 && u.scalar_type() == at::kFloat);
  check_grid(downcast, grid);
  Phi0 phi;
  phi.in_features_ = u.size(1);
  phi.type_ = storage_type(downcast, grid);
  phi.unit_ = unit_of(downcast, grid);
  switch (downcast) {
    case Downcast::float32:
    case Downcast::bfloat16:
    case Downcast::float16:
      phi.stored_ = u.to(scalar_type(phi.type_)).contiguous();
      break;
    case Downcast::fixed_point8:
      phi.stored_ = u.clamp(grid.quant_min, grid.quant_max).mul_(1.0F / phi.unit_).round_().to(at::kChar);
      break;
    case Downcast::int4:
    case Downcast::integer:
      phi.stored_ = u.round().clamp_(grid.quant_min, grid.quant_max).to(at::kChar);
      if (is_packed(downcast, grid)) phi.stored_ = pack(phi.stored_);
      break;
  }
  return phi;
}

Phi0::Phi0(at::Tensor stored, std::int64_t in_features, Downcast downcast, const Grid& grid,
           const std::string& where)
    : stored_(std::move(stored)),
      in_features_(in_features),
      type_(storage_type(downcast, grid)),
      unit_(unit_of(downcast, grid)) {
  check_grid(downcast, grid);
  const std::int64_t cols = is_packed(downcast, grid) ? kernels::packed_int4_bytes(in_features) : in_features;
  if (stored_.dim() != 2 || stored_.size(1) != cols || stored_.scalar_type() != scalar_type(type_)) {
    fail(where, ": phi_0 has dtype ", stored_.scalar_type(), " and shape ", stored_.sizes(), ", expected ",
         scalar_type(type_), " [N, ", cols, "] for --phi ", downcast_name(downcast));
  }
  stored_ = stored_.contiguous();
}

kernels::PhiView Phi0::view(std::int64_t row) const {
  const auto row_bytes = static_cast<std::int64_t>(stored_.stride(0) * stored_.element_size());
  return {type_, static_cast<const std::byte*>(stored_.const_data_ptr()) + row * row_bytes, row_bytes, unit_};
}

at::Tensor Phi0::decode(std::int64_t row_begin, std::int64_t row_end) const {
  const at::Tensor rows = stored_.slice(0, row_begin, row_end);
  if (type_ != kernels::PhiType::int4) {
    const at::Tensor values = rows.to(at::kFloat);
    return type_ == kernels::PhiType::int8 ? values * unit_ : values;
  }
  const at::Tensor nibbles = at::stack({rows.bitwise_and(15), rows.bitwise_right_shift(4)}, 2);
  return nibbles.flatten(1).slice(1, 0, in_features_).to(at::kFloat) - 8.0F;
}

}  // namespace lrqat::quant
