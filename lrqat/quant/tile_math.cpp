#include "lrqat/quant/tile_math.h"

#include <ATen/ATen.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"

namespace lrqat::quant {

at::Tensor rows_of(const at::Tensor& per_scale, std::int64_t row_begin, std::int64_t row_end) {
  return rows_of(scale_rows(per_scale, row_begin, row_end));
}

at::Tensor rows_of(const at::Tensor& scale_of_rows) { return scale_of_rows.unsqueeze(2); }

at::Tensor grouped(const at::Tensor& tile, const at::Tensor& per_scale) {
  return tile.view({tile.size(0), per_scale.size(1), -1});
}

at::Tensor sum_of_groups(const at::Tensor& grouped_terms) { return grouped_terms.sum(2); }

void add_per_scale_gradient(const at::Tensor& sums, std::int64_t row_begin, const at::Tensor& grad) {
  if (grad.size(0) == 1) {
    at::Tensor(grad).add_(sums.sum(0, true));
  } else {
    grad.slice(0, row_begin, row_begin + sums.size(0)).add_(sums);
  }
}

void add_per_scale_gradient(const ScaleParameter& scale, const at::Tensor& sums, std::int64_t row_begin,
                            const at::Tensor& grad) {
  const bool shared = scale.value().size(0) == 1;
  scale.add_gradient(shared ? sums.sum(0, true) : sums, shared ? 0 : row_begin, grad);
}

double share_beyond(const at::Tensor& steps, const Grid& grid) {
  std::int64_t beyond = 0;
  const auto count = [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor rounded = steps.slice(0, begin, end).round();
    beyond += rounded.lt(grid.quant_min).logical_or_(rounded.gt(grid.quant_max)).sum().item<std::int64_t>();
  };
  for_each_tile(steps.size(0), steps.size(1), count, steps.device());
  return static_cast<double>(beyond) / static_cast<double>(steps.numel());
}

std::vector<std::pair<std::string, at::Tensor>> clipped_at_start_buffer(std::optional<double> share) {
  if (!share) return {};
  return {{"clipped_at_start", at::full({1}, *share, at::kFloat)}};
}

GridShift GridShift::rows(std::int64_t row_begin, std::int64_t row_end) const {
  const auto part = [&](const at::Tensor& t) { return t.defined() ? scale_rows(t, row_begin, row_end) : t; };
  return {part(zero_point), part(offset)};
}

WeightTile tile_of_codes(const at::Tensor& codes, const at::Tensor& scale, const GridShift& shift,
                         ops::ComputeType compute) {
  at::Tensor values = grouped(codes, scale).to(at::kFloat);
  if (shift.zero_point.defined()) values = values - rows_of(shift.zero_point);
  const bool half = compute == ops::ComputeType::bfloat16;
  const at::Tensor s = rows_of(scale);
  if (half && scale.size(1) == 1 && !shift.offset.defined()) {
    return {values.view(codes.sizes()).to(at::kBFloat16), s.reshape({-1}).expand({codes.size(0)})};
  }
  values = values * s;
  if (shift.offset.defined()) values.add_(rows_of(shift.offset));
  values = values.view(codes.sizes());
  return {half ? values.to(at::kBFloat16) : values, {}};
}

at::Tensor values_of(const WeightParametrization& weight) {
  return weight.make_tile(0, weight.out_features(), ops::ComputeType::float32).to_float();
}

double lsq_gradient_scale(std::int64_t weights, const at::Tensor& scale, int quant_max) {
  const auto sharing = static_cast<double>(weights / scale.numel());
  return 1.0 / std::sqrt(sharing * static_cast<double>(quant_max));
}

at::Tensor kaiming_uniform_rows(std::int64_t rank, std::int64_t in_features, std::uint64_t seed) {
  at::Tensor lora_b = at::empty({rank, in_features}, at::kFloat);
  Random random(seed);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in_features));
  auto* values = lora_b.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < lora_b.numel(); ++i)
    values[i] = static_cast<float>((2.0 * random.uniform() - 1.0) * bound);
  return lora_b;
}

}  // namespace lrqat::quant
