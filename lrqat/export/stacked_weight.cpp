#include "lrqat/export/stacked_weight.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::exporting {
namespace {

// A scale for the whole part is one for each of its rows.
at::Tensor by_row(const at::Tensor& per_scale, const quant::QuantizedWeight& weight) {
  return per_scale.expand({weight.weight_int.size(0), per_scale.size(1)});
}

at::Tensor zero_points(const quant::QuantizedWeight& weight) {
  return by_row(weight.zero_point.defined() ? weight.zero_point.to(at::kChar)
                                            : at::zeros(weight.scale.sizes(), at::kChar),
                weight);
}

}  // namespace

std::int64_t StackedWeight::out_features() const {
  std::int64_t rows = 0;
  for (const auto& part : parts_) rows += part->out_features();
  return rows;
}

quant::WeightTile StackedWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                           ops::ComputeType compute) const {
  std::vector<at::Tensor> tiles;
  std::int64_t first = 0;
  for (const auto& part : parts_) {
    const std::int64_t begin = std::max(row_begin, first) - first;
    const std::int64_t end = std::min(row_end, first + part->out_features()) - first;
    if (begin < end) {
      tiles.push_back(part->make_tile(begin, end, ops::ComputeType::float32).to_float());
    }
    first += part->out_features();
  }
  const at::Tensor values = at::cat(tiles);
  return {compute == ops::ComputeType::bfloat16 ? values.to(at::kBFloat16) : values, {}};
}

quant::QuantizedWeight StackedWeight::convert() const {
  std::vector<quant::QuantizedWeight> weights;
  for (const auto& part : parts_) weights.push_back(part->convert());
  quant::QuantizedWeight all = weights.front();
  std::vector<at::Tensor> codes, scales, zeros;
  double clipped = 0;
  for (const quant::QuantizedWeight& weight : weights) {
    codes.push_back(weight.weight_int);
    scales.push_back(by_row(weight.scale, weight));
    zeros.push_back(zero_points(weight));
    clipped += weight.clipped_fraction * static_cast<double>(weight.weight_int.numel());
  }
  if (all.granularity.kind == quant::Granularity::Kind::tensor)
    all.granularity.kind = quant::Granularity::Kind::channel;
  all.weight_int = at::cat(codes);
  all.scale = at::cat(scales);
  const at::Tensor zero = at::cat(zeros);
  all.zero_point = zero.ne(0).any().item<bool>() ? zero : at::Tensor();
  all.clipped_fraction = clipped / static_cast<double>(all.weight_int.numel());
  return all;
}

std::shared_ptr<quant::WeightParametrization> stack(const std::string& module, const Matrices& parts) {
  const bool quantized = parts.front()->is_quantized();
  const auto same = [&](const auto& part) {
    if (part->is_quantized() != quantized) return false;
    if (!quantized) return true;
    const auto one = parts.front()->convert(), other = part->convert();
    return one.grid == other.grid && one.granularity == other.granularity && !one.offset.defined() &&
           !other.offset.defined();
  };
  if (!std::all_of(parts.begin(), parts.end(), same)) {
    fail(module,
         ": is one matrix in files of this family, but its parts differ in bits or groups: hf and the "
         "converted folder (lrqat convert) hold this model");
  }
  return std::make_shared<StackedWeight>(parts);
}

}  // namespace lrqat::exporting
