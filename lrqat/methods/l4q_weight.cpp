#include "lrqat/methods/l4q_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/methods/method.h"
#include "lrqat/ops/low_rank_tile.h"

namespace lrqat::methods {
namespace {

void check_options(const L4qOptions& options) {
  check_rank(options.rank);
  if (options.asymmetric_start && !options.learn_offset) {
    throw UsageError(
        "`method` l4q with `symmetric` false starts from a float offset: give `learn-offset` true too, or "
        "keep `symmetric` true, which every export format holds");
  }
}

// W0 in the storage's type; a weight that does not fit float16 would become infinite.
at::Tensor store(const std::string& name, const at::Tensor& weight, at::ScalarType storage) {
  const at::Tensor stored = weight.to(storage);
  if (storage == at::kHalf && weight.abs().max().item<float>() > 65504.0F) {
    fail(name, ": a weight of ", weight.abs().max().item<float>(),
         " does not fit float16: use `weight-dtype` bfloat16 or float32");
  }
  return stored;
}

}  // namespace

std::shared_ptr<L4qWeight> L4qWeight::prepare(const std::string& name, const at::Tensor& weight,
                                              const L4qOptions& options, const quant::InitialRange& initial,
                                              std::uint64_t seed) {
  check_options(options);
  options.granularity.check(name, weight.size(1));
  quant::check_finite(name, weight);
  const at::Tensor stored = store(name, weight, options.storage);
  const quant::QuantRange range =
      initial.of(weight, {options.grid, options.granularity, options.scale, !options.asymmetric_start});
  at::Tensor offset;
  if (range.zero_float.defined()) {
    // s·(k - zero_float) with k = q - quant_min: b = -s·(quant_min + zero_float)
    offset = -range.scale * (range.zero_float + options.grid.quant_min);
  } else if (options.learn_offset) {
    offset = at::zeros_like(range.scale);
  }
  const at::Tensor lora_b =
      quant::kaiming_uniform_rows(options.rank, weight.size(1), seed).to(weight.device());
  return std::make_shared<L4qWeight>(options, stored, quant::ScaleParameter(range.scale, options.scale),
                                     offset, at::zeros({weight.size(0), options.rank}, weight.options()),
                                     lora_b);
}

L4qWeight::L4qWeight(const L4qOptions& options, at::Tensor weight, quant::ScaleParameter scale,
                     at::Tensor offset, at::Tensor lora_a, at::Tensor lora_b)
    : options_(options),
      weight_(std::move(weight)),
      scale_(std::move(scale)),
      offset_(std::move(offset)),
      lora_a_(std::move(lora_a)),
      lora_b_(std::move(lora_b)) {
  const auto shape = options_.granularity.scale_shape(out_features(), in_features());
  LRQAT_CHECK(weight_.scalar_type() == options_.storage && weight_.is_contiguous());
  LRQAT_CHECK(scale_.value().sizes() == at::IntArrayRef(shape), "scale shape ", scale_.value().sizes());
  LRQAT_CHECK(offset_.defined() == options_.learn_offset);
  LRQAT_CHECK(!offset_.defined() || offset_.sizes() == at::IntArrayRef(shape));
  LRQAT_CHECK(lora_a_.sizes() == at::IntArrayRef({out_features(), options_.rank}) && lora_a_.is_contiguous());
  LRQAT_CHECK(lora_b_.sizes() == at::IntArrayRef({options_.rank, in_features()}) && lora_b_.is_contiguous());
  lora_a_.set_requires_grad(true);
  lora_b_.set_requires_grad(true);
  if (offset_.defined()) offset_.set_requires_grad(true);
}

at::Tensor L4qWeight::unrounded(std::int64_t row_begin, std::int64_t row_end) const {
  const at::Tensor merged =
      weight_.slice(0, row_begin, row_end).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  ops::add_low_rank_rows(merged, lora_a_, lora_b_, lora_scaling(options_.lora_alpha, options_.rank),
                         row_begin);
  const at::Tensor scale = scale_.effective(row_begin, row_end);
  at::Tensor w = quant::grouped(merged, scale);
  if (offset_.defined()) w.sub_(quant::rows_of(offset_.detach(), row_begin, row_end));
  return w.div_(quant::rows_of(scale)).view(merged.sizes());
}

at::Tensor L4qWeight::codes(const at::Tensor& unrounded) const {
  return unrounded.clamp(options_.grid.quant_min, options_.grid.quant_max).round_();
}

quant::WeightTile L4qWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                       ops::ComputeType compute) const {
  return quant::tile_of_codes(codes(unrounded(row_begin, row_end)), scale_.effective(row_begin, row_end),
                              shift().rows(row_begin, row_end), compute);
}

std::vector<quant::Parameter> L4qWeight::parameters() const {
  std::vector<quant::Parameter> parameters{{"lora_a", lora_a_, quant::ParameterKind::adapter},
                                           {"lora_b", lora_b_, quant::ParameterKind::adapter}};
  if (options_.scale.learn) parameters.push_back(scale_.parameter(options_.grid));
  if (offset_.defined()) parameters.push_back({"offset", offset_, quant::ParameterKind::scale});
  return parameters;
}

std::vector<std::pair<std::string, at::Tensor>> L4qWeight::buffers() const {
  std::vector<std::pair<std::string, at::Tensor>> buffers{{"weight", weight_}};
  for (auto& buffer : scale_.buffers()) buffers.push_back(std::move(buffer));
  return buffers;
}

void L4qWeight::add_tile_gradient(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& grad_weight,
                                  at::TensorList grads) const {
  const at::Tensor w = unrounded(row_begin, row_end);
  const at::Tensor clipped = codes(w);
  const at::Tensor in_range =
      w.ge(options_.grid.quant_min).logical_and_(w.le(options_.grid.quant_max)).to(at::kFloat);
  const double factor = options_.gradient_scaling ? quant::lsq_gradient_scale(weight_.numel(), scale_.value(),
                                                                              options_.grid.quant_max)
                                                  : 1.0;
  const at::Tensor g = quant::grouped(grad_weight, scale_.value());
  std::size_t next = 2;
  if (options_.scale.learn) {  // w~ is the bound where w is clipped
    const at::Tensor slope = quant::grouped(clipped.sub(w * in_range), scale_.value());
    quant::add_per_scale_gradient(scale_, quant::sum_of_groups(g * slope).mul_(factor), row_begin,
                                  grads[next++]);
  }
  at::Tensor kept = grad_weight * in_range;  // dL/dW of the merged weight
  if (offset_.defined()) {
    const at::Tensor sums = quant::sum_of_groups(g - quant::grouped(kept, scale_.value())).mul_(factor);
    quant::add_per_scale_gradient(sums, row_begin, grads[next++]);
  }
  const double scaling = lora_scaling(options_.lora_alpha, options_.rank);
  const at::Tensor a = lora_a_.detach().slice(0, row_begin, row_end);
  at::Tensor grad_a = grads[0].slice(0, row_begin, row_end), grad_b = grads[1];
  grad_a.addmm_(kept, lora_b_.detach().t(), 1.0, scaling);
  grad_b.addmm_(a.t(), kept, 1.0, scaling);
}

quant::QuantizedWeight L4qWeight::convert() const {
  quant::QuantizedWeight result{
      options_.grid, options_.granularity,
      at::empty({out_features(), in_features()}, weight_.options().dtype(at::kChar)),
      scale_.effective().clone(), 0.0};
  if (offset_.defined() && offset_.detach().ne(0).any().item<bool>()) {
    result.offset = offset_.detach().clone();
  }
  std::int64_t clipped = 0;
  quant::for_each_tile(out_features(), in_features(), [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor w = unrounded(begin, end);
    result.weight_int.slice(0, begin, end).copy_(codes(w));
    clipped +=
        w.lt(options_.grid.quant_min).logical_or_(w.gt(options_.grid.quant_max)).sum().item<std::int64_t>();
  });
  result.clipped_fraction = static_cast<double>(clipped) / static_cast<double>(weight_.numel());
  return result;
}

std::int64_t L4qWeight::resident_bytes() const {
  return static_cast<std::int64_t>(weight_.nbytes() + scale_.value().nbytes() + lora_a_.nbytes() +
                                   lora_b_.nbytes() + (offset_.defined() ? offset_.nbytes() : 0));
}

// --- the row

namespace {

L4qOptions l4q_options(const LayerOptions& options) {
  return {.grid = options.spec.grid,
          .granularity = options.spec.granularity,
          .storage = options.weight_dtype,
          .rank = options.rank,
          .lora_alpha = options.lora_alpha,
          .scale = options.spec.scale,
          .learn_offset = options.learn_offset,
          .asymmetric_start = !options.spec.symmetric,
          .gradient_scaling = options.gradient_scaling};
}

WeightPtr prepare(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  return L4qWeight::prepare(name, weight, l4q_options(options), options.range, options.seed);
}

WeightPtr from_integers(const std::string& name, const quant::RoundedWeight& start,
                        const LayerOptions& options) {
  return prepare(name, quant::float_values(start, options.weight_dtype),
                 on_scales_of(start.rounded, options));
}

WeightPtr restore(const SavedLayer& saved, const LayerOptions& layer) {
  const L4qOptions options = l4q_options(layer);
  const at::Tensor offset = options.learn_offset ? saved.at("offset") : at::Tensor();
  return std::make_shared<L4qWeight>(options, saved.at("weight"), saved_scale(saved, options.scale), offset,
                                     saved.at("lora_a"), saved.at("lora_b"));
}

}  // namespace

Method l4q_method() {
  return {.name = "l4q",
          .has_adapters = true,
          .trains_scales = true,
          .reads = {.weight_dtype = true, .learn_offset = true, .gradient_scaling = true},
          // Rates of short runs here and in the other rows: docs/results.md, "Learning rates".
          .defaults = {.lr = 2e-3, .scale_lr = 1e-4, .beta2 = 0.999},
          .prepare = prepare,
          .from_integers = from_integers,
          .restore = restore,
          .frozen_bytes = float_bytes};
}

}  // namespace lrqat::methods
