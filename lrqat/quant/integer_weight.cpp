#include "lrqat/quant/integer_weight.h"

#include <ATen/ATen.h>

#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/ops/low_rank_tile.h"
#include "lrqat/quant/scale_parameter.h"

namespace lrqat::quant {
namespace {

void check_scale(const std::string& name, const QuantizedWeight& weight, std::int64_t out_features,
                 std::int64_t in_features) {
  weight.granularity.check(name, in_features);
  const auto shape = weight.granularity.scale_shape(out_features, in_features);
  if (weight.scale.sizes() != at::IntArrayRef(shape)) {
    fail(name, ": scale has shape ", weight.scale.sizes(), ", expected [", shape[0], ", ", shape[1], "] for ",
         weight.granularity.name());
  }
}

void check_codes(const std::string& name, const at::Tensor& codes, const Grid& grid) {
  const auto [low, high] = codes.aminmax();
  if (low.item<int>() < grid.quant_min || high.item<int>() > grid.quant_max) {
    fail(name, ": codes range from ", low.item<int>(), " to ", high.item<int>(), ", outside [",
         grid.quant_min, ", ", grid.quant_max, "] of ", grid.num_bits, " bits");
  }
}

// Φ0 of integers: packed where the grid allows it. The codes themselves, so any float pass through it is
// exact.
Phi0 store_codes(const std::string& name, const QuantizedWeight& weight) {
  check_codes(name, weight.weight_int, weight.grid);
  return Phi0::store(weight.weight_int.to(at::kFloat), Downcast::integer, weight.grid);
}

// Half bytes hold nothing but codes of 4 bits, bytes nothing but those of 8: they need no look.
Phi0 checked(const std::string& name, Phi0 codes, const Grid& grid) {
  const int stored_bits = codes.tensor().scalar_type() == at::kByte ? 4 : 8;
  if (grid == Grid::signed_symmetric(stored_bits)) return codes;
  for_each_tile(codes.out_features(), codes.in_features(), [&](std::int64_t begin, std::int64_t end) {
    check_codes(name, codes.decode(begin, end), grid);
  });
  return codes;
}

// A tensor that must be shaped like the scales, or undefined.
at::Tensor per_scale(const std::string& name, const char* what, const at::Tensor& tensor,
                     const at::Tensor& scale) {
  if (tensor.defined() && tensor.sizes() != scale.sizes()) {
    fail(name, ": ", what, " has shape ", tensor.sizes(), ", expected that of the scales, ", scale.sizes());
  }
  return tensor;
}

}  // namespace

IntegerWeight::IntegerWeight(const std::string& name, const QuantizedWeight& weight)
    : IntegerWeight(name, store_codes(name, weight), weight) {}

IntegerWeight::IntegerWeight(const std::string& name, Phi0 codes, const QuantizedWeight& rest)
    : grid_(rest.grid),
      granularity_(rest.granularity),
      phi_0_(checked(name, std::move(codes), rest.grid)),
      scale_(rest.scale.to(at::kFloat).contiguous()),
      shift_{per_scale(name, "zero_point", rest.zero_point, rest.scale),
             per_scale(name, "offset", rest.offset, rest.scale)},
      clipped_fraction_(rest.clipped_fraction) {
  check_scale(name, rest, out_features(), in_features());
}

WeightTile IntegerWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                    ops::ComputeType compute) const {
  const at::Tensor scale = scale_rows(scale_, row_begin, row_end);
  if (!shift_.defined()) return ops::quantized_tile(phi_0_.stored(row_begin, row_end, scale), compute);
  return tile_of_codes(phi_0_.decode(row_begin, row_end), scale, shift_.rows(row_begin, row_end), compute);
}

std::vector<std::pair<std::string, at::Tensor>> IntegerWeight::buffers() const {
  std::vector<std::pair<std::string, at::Tensor>> buffers{
      {"codes", phi_0_.tensor()},
      {"scale", scale_},
      {"clipped_fraction", at::full({1}, clipped_fraction_, at::kFloat)}};
  if (shift_.zero_point.defined()) buffers.emplace_back("zero_point", shift_.zero_point);
  if (shift_.offset.defined()) buffers.emplace_back("offset", shift_.offset);
  return buffers;
}

std::optional<ops::StoredWeight> IntegerWeight::stored_form() const {
  if (shift_.offset.defined()) return std::nullopt;
  ops::StoredWeight stored = phi_0_.stored(scale_);
  stored.zero_point = shift_.zero_point;
  return stored;
}

QuantizedWeight IntegerWeight::convert() const {
  ops::TileTensors tile = ops::low_rank_tile(phi_0_.stored(scale_), {.codes = true});
  return {grid_,          granularity_,      std::move(tile.codes),
          scale_.clone(), clipped_fraction_, shift_.zero_point,
          shift_.offset};
}

std::int64_t IntegerWeight::resident_bytes() const {
  const auto bytes = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.nbytes() : 0; };
  return static_cast<std::int64_t>(phi_0_.tensor().nbytes() + scale_.nbytes() + bytes(shift_.zero_point) +
                                   bytes(shift_.offset));
}

namespace {

// Fills weight_int and clipped_fraction of a result that has everything else.
QuantizedWeight round_on(QuantizedWeight result, const at::Tensor& weight) {
  result.weight_int = at::empty(weight.sizes(), weight.options().dtype(at::kChar));
  std::int64_t clipped = 0;
  for_each_tile(weight.size(0), weight.size(1), [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor rounded = divide_rows_by_scale(weight, result.scale, begin, end).round_();
    if (result.zero_point.defined()) {
      grouped(rounded, result.scale).add_(rows_of(result.zero_point, begin, end));
    }
    const at::Tensor codes = rounded.clamp(result.grid.quant_min, result.grid.quant_max);
    clipped += codes.ne(rounded).sum().item<std::int64_t>();
    result.weight_int.slice(0, begin, end).copy_(codes);
  });
  result.clipped_fraction = static_cast<double>(clipped) / static_cast<double>(weight.numel());
  return result;
}

}  // namespace

QuantizedWeight round_to_nearest(const std::string& name, const at::Tensor& weight, const QuantSpec& spec,
                                 const InitialRange& range) {
  spec.granularity.check(name, weight.size(1));
  check_finite(name, weight);
  const QuantRange found = range.of(weight, spec);
  const ScaleParameter scale(found.scale, spec.scale);
  return round_on({spec.grid, spec.granularity, {}, scale.effective(), 0.0, found.zero_point(spec.grid)},
                  weight);
}

std::shared_ptr<WeightParametrization> merged_by_rounding(
    const std::string& layer, const std::shared_ptr<WeightParametrization>& weight) {
  const auto adapters = weight->float_adapters();
  if (!adapters || !adapters->base->is_quantized()) return weight;
  QuantizedWeight result = adapters->base->convert();
  std::int64_t clipped = 0;
  for_each_tile(weight->out_features(), weight->in_features(), [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor values = weight->make_tile(begin, end, ops::ComputeType::float32).values;
    at::Tensor rounded = (grouped(values, result.scale) / rows_of(result.scale, begin, end)).round_();
    if (result.zero_point.defined()) rounded.add_(rows_of(result.zero_point, begin, end));
    const at::Tensor codes = rounded.clamp(result.grid.quant_min, result.grid.quant_max);
    clipped += codes.ne(rounded).sum().item<std::int64_t>();
    result.weight_int.slice(0, begin, end).copy_(codes.view(values.sizes()));
  });
  result.clipped_fraction =
      static_cast<double>(clipped) / static_cast<double>(weight->out_features() * weight->in_features());
  return std::make_shared<IntegerWeight>(layer, result);
}

}  // namespace lrqat::quant
