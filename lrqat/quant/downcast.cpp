#include "lrqat/quant/downcast.h"

#include <ATen/ATen.h>

#include <array>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

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

at::ScalarType storage_type(Downcast downcast, const Grid& grid) {
  switch (downcast) {
    case Downcast::float32:
      return at::kFloat;
    case Downcast::bfloat16:
      return at::kBFloat16;
    case Downcast::float16:
      return at::kHalf;
    case Downcast::fixed_point8:
      return at::kChar;
    case Downcast::int4:
    case Downcast::integer:
      return is_packed(downcast, grid) ? at::kByte : at::kChar;
  }
  internal_error(__FILE__, __LINE__, "downcast", "");
}

void check_grid(Downcast downcast, const Grid& grid) {
  if (downcast == Downcast::int4 && grid.num_bits > 4) {
    throw UsageError(concat("`phi` int4 holds at most 4 bits, not `bits` ", grid.num_bits,
                            ": use fixed_point8, integer or a float type"));
  }
}

float unit_of(Downcast downcast, const Grid& grid) {
  return downcast == Downcast::fixed_point8 ? 1.0F / static_cast<float>(1 << (8 - grid.num_bits)) : 1.0F;
}

std::int64_t stored_columns(std::int64_t in_features, Downcast downcast, const Grid& grid) {
  return is_packed(downcast, grid) ? (in_features + 1) / 2 : in_features;
}

}  // namespace

Downcast parse_downcast(std::string_view name) {
  std::string known;
  for (const auto& row : kDowncasts) {
    if (row.name == name) return row.downcast;
    known += concat(known.empty() ? "" : ", ", row.name);
  }
  throw UsageError(concat("`phi` ", quote(name), " is not known: use one of ", known));
}

std::string downcast_name(Downcast downcast) {
  for (const auto& row : kDowncasts) {
    if (row.downcast == downcast) return row.name;
  }
  internal_error(__FILE__, __LINE__, "downcast", "");
}

Phi0::Phi0(std::int64_t in_features, Downcast downcast, const Grid& grid)
    : in_features_(in_features), downcast_(downcast), grid_(grid), unit_(unit_of(downcast, grid)) {
  check_grid(downcast, grid);
}

Phi0 Phi0::store(const at::Tensor& u, Downcast downcast, const Grid& grid) {
  Phi0 phi = allocate(u.size(0), u.size(1), downcast, grid, u.device());
  phi.store_rows(0, u);
  return phi;
}

Phi0 Phi0::allocate(std::int64_t out_features, std::int64_t in_features, Downcast downcast, const Grid& grid,
                    at::Device device) {
  Phi0 phi(in_features, downcast, grid);
  phi.stored_ = at::empty({out_features, stored_columns(in_features, downcast, grid)},
                          at::TensorOptions(storage_type(downcast, grid)).device(device));
  return phi;
}

void Phi0::store_rows(std::int64_t row_begin, const at::Tensor& u) {
  LRQAT_CHECK(u.dim() == 2 && u.scalar_type() == at::kFloat && u.size(1) == in_features_);
  at::Tensor rows = stored_.slice(0, row_begin, row_begin + u.size(0));
  switch (downcast_) {
    case Downcast::float32:
    case Downcast::bfloat16:
    case Downcast::float16:
      rows.copy_(u);
      return;
    case Downcast::fixed_point8:
      rows.copy_(u.clamp(grid_.quant_min, grid_.quant_max).mul_(1.0F / unit_).round_());
      return;
    case Downcast::int4:
    case Downcast::integer:
      const at::Tensor codes = u.round().clamp_(grid_.quant_min, grid_.quant_max).to(at::kChar);
      rows.copy_(is_packed(downcast_, grid_) ? ops::pack_int4(codes) : codes);
      return;
  }
}

Phi0::Phi0(at::Tensor stored, std::int64_t in_features, Downcast downcast, const Grid& grid,
           const std::string& where)
    : Phi0(in_features, downcast, grid) {
  const std::int64_t cols = stored_columns(in_features, downcast, grid);
  if (stored.dim() != 2 || stored.size(1) != cols || stored.scalar_type() != storage_type(downcast, grid)) {
    fail(where, ": phi_0 has dtype ", stored.scalar_type(), " and shape ", stored.sizes(), ", expected ",
         storage_type(downcast, grid), " [N, ", cols, "] for `phi` ", downcast_name(downcast));
  }
  stored_ = stored.contiguous();
}

at::Tensor Phi0::decode(std::int64_t row_begin, std::int64_t row_end) const {
  return ops::decode({stored_.slice(0, row_begin, row_end), in_features_, unit_});
}

ops::StoredWeight Phi0::stored(const at::Tensor& scale) const { return stored(0, out_features(), scale); }

ops::StoredWeight Phi0::stored(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& scale) const {
  ops::StoredWeight weight{stored_.slice(0, row_begin, row_end), in_features_, unit_};
  weight.quant_min = grid_.quant_min;
  weight.quant_max = grid_.quant_max;
  weight.scale = scale;
  return weight;
}

}  // namespace lrqat::quant
