#include "lrqat/quant/on_grid.h"

#include <ATen/ATen.h>

#include <numeric>

#include "lrqat/base/error.h"

namespace lrqat::quant {
namespace {

constexpr float kSmallestScale = 0x1p-24F;  // of float16; for scales of 0, which stand for zeros

// Everything by the finest groups that both grids are made of: F of them a row, P scales in all, M weights a
// scale.
struct Parts {
  at::Tensor codes;       // int16 [P, fine groups a scale, weights], zero points taken off
  at::Tensor scale;       // float32 [P, fine groups a scale]
  at::Tensor zero_point;  // int16 [P, fine groups a scale]
  at::Tensor used;        // bool [P, fine groups a scale]: some weight is not zero
};

// [N or 1, G] -> [N, F]
at::Tensor spread(const at::Tensor& per_scale, std::int64_t rows, std::int64_t groups) {
  return per_scale.repeat_interleave(groups / per_scale.size(1), 1).expand({rows, groups});
}

Parts parts_of(const QuantizedWeight& stored, std::int64_t scales, std::int64_t groups_a_row) {
  const std::int64_t rows = stored.weight_int.size(0), groups = std::lcm(stored.scale.size(1), groups_a_row);
  const at::Tensor zero = stored.zero_point.defined() ? stored.zero_point.cpu().to(at::kShort)
                                                      : at::zeros(stored.scale.sizes(), at::kShort);
  Parts parts;
  parts.scale = spread(stored.scale.cpu(), rows, groups).reshape({scales, -1});
  parts.zero_point = spread(zero, rows, groups).reshape({scales, -1});
  parts.codes = stored.weight_int.cpu().to(at::kShort).reshape({scales, parts.scale.size(1), -1}) -
                parts.zero_point.unsqueeze(2);
  parts.codes = at::where(parts.scale.eq(0).unsqueeze(2), at::zeros({}, at::kShort), parts.codes);
  parts.used = parts.codes.ne(0).any(2);
  return parts;
}

// The scale of each [P]; undefined where weights that share one would have several.
at::Tensor common_scale(const Parts& parts) {
  const at::Tensor first_used = parts.used.to(at::kByte).argmax(1, /*keepdim=*/true);
  at::Tensor scale = parts.scale.gather(1, first_used).squeeze(1);
  if (at::where(parts.used, parts.scale, scale.unsqueeze(1)).ne(scale.unsqueeze(1)).any().item<bool>())
    return {};
  scale = at::where(parts.used.any(1), scale, parts.scale.amax(1));
  return at::where(scale.eq(0), at::full({}, kSmallestScale), scale);
}

// The zero point of each [P] that puts its codes into the grid.
at::Tensor common_zero_point(const Parts& parts, const Grid& grid) {
  const at::Tensor low = parts.codes.amin({1, 2}), high = parts.codes.amax({1, 2});
  const auto fits = [&](const at::Tensor& zero) {
    return (low + zero).ge(grid.quant_min).logical_and_((high + zero).le(grid.quant_max));
  };
  const at::Tensor nearest =
      at::where((high - grid.quant_max).gt(0), grid.quant_max - high, at::clamp_min(grid.quant_min - low, 0))
          .to(at::kShort);
  const at::Tensor stored = parts.zero_point.select(1, 0);
  const at::Tensor kept = fits(stored).logical_and_(parts.zero_point.eq(stored.unsqueeze(1)).all(1));
  const at::Tensor zero = at::where(kept, stored, nearest);
  return fits(zero).all().item<bool>() ? zero : at::Tensor();
}

}  // namespace

std::optional<QuantizedWeight> on_grid(const QuantizedWeight& stored, const Grid& grid,
                                       const Granularity& granularity, bool symmetric,
                                       std::string& obstacle) {
  const auto refuse = [&](const std::string& why) {
    obstacle = why;
    return std::nullopt;
  };
  if (stored.offset.defined()) return refuse("the grid has a float offset");
  const std::int64_t rows = stored.weight_int.size(0), cols = stored.weight_int.size(1);
  if (granularity.kind == Granularity::Kind::group && cols % granularity.group_size != 0)
    return refuse("groups do not divide in_features");
  const auto shape = granularity.scale_shape(rows, cols);
  const Parts parts = parts_of(stored, shape[0] * shape[1], shape[1]);
  const at::Tensor scale = common_scale(parts);
  if (!scale.defined()) return refuse(concat("scales differ within what ", granularity.name(), " shares"));
  if (!scale.isfinite().all().item<bool>()) return refuse("a scale is not finite");
  at::Tensor zero;
  if (symmetric) {
    if (parts.codes.amin().item<int>() < grid.quant_min || parts.codes.amax().item<int>() > grid.quant_max) {
      return refuse(concat("codes from ", parts.codes.amin().item<int>(), " to ",
                           parts.codes.amax().item<int>(), " do not fit ", grid.num_bits,
                           " bits around zero"));
    }
    zero = at::zeros({scale.size(0)}, at::kShort);
  } else {
    zero = common_zero_point(parts, grid);
    if (!zero.defined()) return refuse(concat("codes do not fit ", grid.num_bits, " bits with a zero point"));
  }
  QuantizedWeight result{grid, granularity, {}, scale.view({shape[0], shape[1]}), stored.clipped_fraction};
  result.weight_int = (parts.codes + zero.view({-1, 1, 1})).to(at::kChar).view({rows, cols});
  if (!symmetric) result.zero_point = zero.to(at::kChar).view({shape[0], shape[1]});
  return result;
}

}  // namespace lrqat::quant
