#include "lrqat/methods/peqa_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/methods/method.h"
#include "lrqat/ops/low_rank_tile.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::methods {

std::shared_ptr<PeqaWeight> PeqaWeight::prepare(const std::string& name, const at::Tensor& weight,
                                                const quant::QuantSpec& spec,
                                                const quant::InitialRange& range) {
  return of(quant::round_to_nearest(name, weight, spec, range), spec);
}

std::shared_ptr<PeqaWeight> PeqaWeight::of(const quant::QuantizedWeight& rounded,
                                           const quant::QuantSpec& spec) {
  return std::make_shared<PeqaWeight>(
      spec, quant::Phi0::store(rounded.weight_int.to(at::kFloat), quant::Downcast::integer, spec.grid),
      quant::ScaleParameter(rounded.scale, spec.scale), rounded.zero_point, rounded.clipped_fraction);
}

std::shared_ptr<PeqaWeight> PeqaWeight::restore(const SavedLayer& saved, const quant::QuantSpec& spec) {
  return std::make_shared<PeqaWeight>(
      spec,
      quant::Phi0(saved.at("codes"), saved.in_features, quant::Downcast::integer, spec.grid, saved.name),
      saved_scale(saved, spec.scale), spec.symmetric ? at::Tensor() : saved.at("zero_point"),
      saved_clipped_at_start(saved));
}

PeqaWeight::PeqaWeight(const quant::QuantSpec& spec, quant::Phi0 codes, quant::ScaleParameter scale,
                       at::Tensor zero_point, std::optional<double> clipped_at_start)
    : options_(spec),
      codes_(std::move(codes)),
      scale_(std::move(scale)),
      zero_point_(std::move(zero_point)),
      clipped_at_start_(clipped_at_start) {
  const auto shape = options_.granularity.scale_shape(out_features(), in_features());
  LRQAT_CHECK(scale_.value().sizes() == at::IntArrayRef(shape), "scale shape ", scale_.value().sizes());
  LRQAT_CHECK(zero_point_.defined() != options_.symmetric);
}

quant::WeightTile PeqaWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                        ops::ComputeType compute) const {
  const at::Tensor scale = scale_.effective(row_begin, row_end);
  if (!zero_point_.defined()) {
    return ops::quantized_tile(codes_.stored(row_begin, row_end, scale), compute);
  }
  return quant::tile_of_codes(codes_.decode(row_begin, row_end), scale,
                              {quant::scale_rows(zero_point_, row_begin, row_end), {}}, compute);
}

std::optional<ops::StoredWeight> PeqaWeight::stored_form() const {
  ops::StoredWeight stored = codes_.stored(scale_.effective());
  stored.zero_point = zero_point_;
  return stored;
}

std::vector<quant::Parameter> PeqaWeight::parameters() const {
  if (!options_.scale.learn) return {};
  return {scale_.parameter(options_.grid)};
}

std::vector<std::pair<std::string, at::Tensor>> PeqaWeight::buffers() const {
  std::vector<std::pair<std::string, at::Tensor>> buffers{{"codes", codes_.tensor()}};
  for (auto& buffer : scale_.buffers()) buffers.push_back(std::move(buffer));
  if (zero_point_.defined()) buffers.emplace_back("zero_point", zero_point_);
  for (auto& buffer : quant::clipped_at_start_buffer(clipped_at_start_)) buffers.push_back(std::move(buffer));
  return buffers;
}

void PeqaWeight::add_tile_gradient(std::int64_t row_begin, std::int64_t row_end,
                                   const at::Tensor& grad_weight, at::TensorList grads) const {
  if (!options_.scale.learn) return;
  at::Tensor q = quant::grouped(codes_.decode(row_begin, row_end), scale_.value());
  if (zero_point_.defined()) q.sub_(quant::rows_of(zero_point_, row_begin, row_end));
  quant::add_per_scale_gradient(scale_, quant::sum_of_groups(quant::grouped(grad_weight, scale_.value()) * q),
                                row_begin, grads[0]);
}

bool PeqaWeight::add_gradient_from_activations(const ops::LinearGradient& linear,
                                               at::TensorList grads) const {
  if (!options_.scale.learn) return true;
  if (scale_.value().size(1) > 1) return false;
  const at::Tensor sums = (linear.grad_output * linear.output).sum(0).unsqueeze(1) / scale_.effective();
  quant::add_per_scale_gradient(scale_, sums, 0, grads[0]);
  return true;
}

quant::QuantizedWeight PeqaWeight::convert() const {
  const at::Tensor codes = codes_.decode(0, out_features()).to(at::kChar);
  return {
      options_.grid, options_.granularity, codes, scale_.effective().clone(), clipped_at_start_.value_or(0.0),
      zero_point_};
}

std::int64_t PeqaWeight::resident_bytes() const {
  return static_cast<std::int64_t>(codes_.tensor().nbytes() + scale_.value().nbytes() +
                                   (zero_point_.defined() ? zero_point_.nbytes() : 0));
}

// --- the row

namespace {

WeightPtr prepare(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  if (!options.spec.scale.learn)
    throw UsageError("`method` peqa trains the scales alone: `learn-scale` must be true");
  return PeqaWeight::prepare(name, weight, options.spec, options.range);
}

WeightPtr from_integers(const std::string&, const quant::RoundedWeight& start, const LayerOptions& options) {
  return PeqaWeight::of(start.rounded, options.spec);
}

WeightPtr restore(const SavedLayer& saved, const LayerOptions& options) {
  return PeqaWeight::restore(saved, options.spec);
}

}  // namespace

Method peqa_method() {
  return {.name = "peqa",
          .trains_scales = true,
          .defaults = {.scale_lr = 3e-3, .scale_domain = quant::ScaleDomain::log},
          .prepare = prepare,
          .from_integers = from_integers,
          .restore = restore,
          .frozen_bytes = code_bytes};
}

}  // namespace lrqat::methods
