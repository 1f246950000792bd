#include "lrqat/methods/lsq_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/methods/method.h"

namespace lrqat::methods {

std::shared_ptr<LsqWeight> LsqWeight::prepare(const std::string& name, const at::Tensor& weight,
                                              const LsqOptions& options, const quant::InitialRange& initial) {
  options.granularity.check(name, weight.size(1));
  quant::check_finite(name, weight);
  const quant::QuantRange range =
      initial.of(weight, {options.grid, options.granularity, options.scale, options.symmetric});
  return std::make_shared<LsqWeight>(options, weight.clone(),
                                     quant::ScaleParameter(range.scale, options.scale), range.zero_float);
}

LsqWeight::LsqWeight(const LsqOptions& options, at::Tensor weight, quant::ScaleParameter scale,
                     at::Tensor zero_float)
    : options_(options),
      weight_(std::move(weight)),
      scale_(std::move(scale)),
      zero_float_(std::move(zero_float)) {
  const auto shape = options_.granularity.scale_shape(out_features(), in_features());
  LRQAT_CHECK(weight_.scalar_type() == at::kFloat && weight_.is_contiguous());
  LRQAT_CHECK(scale_.value().sizes() == at::IntArrayRef(shape), "scale shape ", scale_.value().sizes());
  LRQAT_CHECK(zero_float_.defined() != options_.symmetric);
  weight_.set_requires_grad(options_.learn_weight);
  if (zero_float_.defined()) zero_float_.set_requires_grad(options_.scale.learn);
}

// The unsigned zero point round(zero_float) in [0, 2^b - 1], less 2^(b-1) = -quant_min.
at::Tensor LsqWeight::zero_point(std::int64_t row_begin, std::int64_t row_end) const {
  if (!zero_float_.defined()) return {};
  const int steps = options_.grid.quant_max - options_.grid.quant_min;
  const at::Tensor rows = quant::scale_rows(zero_float_.detach(), row_begin, row_end);
  return rows.round().clamp_(0, steps).add_(options_.grid.quant_min);
}

LsqWeight::Tile LsqWeight::tile(std::int64_t row_begin, std::int64_t row_end) const {
  Tile tile;
  const at::Tensor scale = scale_.effective(row_begin, row_end);
  tile.u = quant::grouped(weight_.detach().slice(0, row_begin, row_end), scale) / quant::rows_of(scale);
  tile.rounded = tile.u.round();
  if (zero_float_.defined()) tile.rounded.add_(quant::rows_of(zero_point(row_begin, row_end)));
  tile.codes = tile.rounded.clamp(options_.grid.quant_min, options_.grid.quant_max);
  return tile;
}

quant::WeightTile LsqWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                       ops::ComputeType compute) const {
  const at::Tensor codes = tile(row_begin, row_end).codes.view({row_end - row_begin, in_features()});
  return quant::tile_of_codes(codes, scale_.effective(row_begin, row_end),
                              {zero_point(row_begin, row_end), {}}, compute);
}

std::vector<quant::Parameter> LsqWeight::parameters() const {
  std::vector<quant::Parameter> parameters;
  if (options_.learn_weight) parameters.push_back({"weight", weight_, quant::ParameterKind::weight});
  if (options_.scale.learn) parameters.push_back(scale_.parameter(options_.grid));
  if (options_.scale.learn && zero_float_.defined())
    parameters.push_back({"zero_float", zero_float_, quant::ParameterKind::scale});
  return parameters;
}

std::vector<std::pair<std::string, at::Tensor>> LsqWeight::buffers() const {
  std::vector<std::pair<std::string, at::Tensor>> buffers;
  if (!options_.learn_weight) buffers.emplace_back("weight", weight_);
  for (auto& buffer : scale_.buffers()) buffers.push_back(std::move(buffer));
  if (!options_.scale.learn && zero_float_.defined()) buffers.emplace_back("zero_float", zero_float_);
  return buffers;
}

// Q is the largest code of the grid as the paper has it: quant_max, or 2^b - 1 where it is unsigned.
double LsqWeight::gradient_scale() const {
  if (!options_.gradient_scaling) return 1.0;
  const int largest =
      options_.symmetric ? options_.grid.quant_max : options_.grid.quant_max - options_.grid.quant_min;
  return quant::lsq_gradient_scale(weight_.numel(), scale_.value(), largest);
}

void LsqWeight::add_tile_gradient(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& grad_weight,
                                  at::TensorList grads) const {
  const Tile codes = tile(row_begin, row_end);
  const at::Tensor mask = codes.codes.eq(codes.rounded).to(at::kFloat);
  const at::Tensor g = quant::grouped(grad_weight, scale_.value());
  std::size_t next = 0;
  if (options_.learn_weight) {
    grads[next++].slice(0, row_begin, row_end).add_((g * mask).view(grad_weight.sizes()));
  }
  if (!options_.scale.learn) return;
  at::Tensor slope = codes.codes - mask * codes.u;
  if (zero_float_.defined()) slope.sub_(quant::rows_of(zero_point(row_begin, row_end)));
  quant::add_per_scale_gradient(scale_, quant::sum_of_groups(g * slope).mul_(gradient_scale()), row_begin,
                                grads[next++]);
  if (!zero_float_.defined()) return;
  const int steps = options_.grid.quant_max - options_.grid.quant_min;
  const at::Tensor rounded = quant::scale_rows(zero_float_.detach(), row_begin, row_end).round();
  const at::Tensor inside = rounded.ge(0).logical_and_(rounded.le(steps)).to(at::kFloat);
  const at::Tensor factor = inside * scale_.effective(row_begin, row_end);
  const at::Tensor sums = quant::sum_of_groups(g * (mask - 1.0)).mul_(factor).mul_(gradient_scale());
  quant::add_per_scale_gradient(sums, row_begin, grads[next]);
}

quant::QuantizedWeight LsqWeight::convert() const {
  quant::QuantizedWeight result{
      options_.grid, options_.granularity,
      at::empty({out_features(), in_features()}, weight_.options().dtype(at::kChar)),
      scale_.effective().clone(), 0.0};
  if (zero_float_.defined()) result.zero_point = zero_point(0, out_features()).to(at::kChar);
  std::int64_t clipped = 0;
  quant::for_each_tile(out_features(), in_features(), [&](std::int64_t begin, std::int64_t end) {
    const Tile rows = tile(begin, end);
    result.weight_int.slice(0, begin, end).copy_(rows.codes.view({end - begin, in_features()}));
    clipped += rows.codes.ne(rows.rounded).sum().item<std::int64_t>();
  });
  result.clipped_fraction = static_cast<double>(clipped) / static_cast<double>(weight_.numel());
  return result;
}

std::int64_t LsqWeight::resident_bytes() const {
  return static_cast<std::int64_t>(weight_.nbytes() + scale_.value().nbytes() +
                                   (zero_float_.defined() ? zero_float_.nbytes() : 0));
}

// --- the row

namespace {

LsqOptions lsq_options(const LayerOptions& options) {
  return {.grid = options.spec.grid,
          .granularity = options.spec.granularity,
          .scale = options.spec.scale,
          .symmetric = options.spec.symmetric,
          .gradient_scaling = options.gradient_scaling};
}

WeightPtr prepare(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  return LsqWeight::prepare(name, weight, lsq_options(options), options.range);
}

WeightPtr from_integers(const std::string& name, const quant::RoundedWeight& start,
                        const LayerOptions& options) {
  return prepare(name, quant::float_values(start, at::kFloat), on_scales_of(start.rounded, options));
}

WeightPtr restore(const SavedLayer& saved, const LayerOptions& layer) {
  const LsqOptions options = lsq_options(layer);
  const at::Tensor zero = options.symmetric ? at::Tensor() : saved.at("zero_float");
  return std::make_shared<LsqWeight>(options, saved.at("weight"), saved_scale(saved, options.scale), zero);
}

}  // namespace

Method lsq_method() {
  return {.name = "lsq",
          .trains_weight = true,
          .trains_scales = true,
          .reads = {.gradient_scaling = true},
          .defaults = {.lr = 5e-4, .scale_lr = 1e-4},
          .prepare = prepare,
          .from_integers = from_integers,
          .restore = restore};
}

}  // namespace lrqat::methods
