#include "lrqat/methods/lr_qat_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/methods/layer_options.h"
#include "lrqat/ops/low_rank_tile.h"

namespace lrqat::methods {
namespace {

struct Stored {
  quant::Phi0 phi_0;
  double clipped;  // the share of W / s0 beyond the grid
};

// Φ0 = φ(W / s0) in tiles, so that W / s0 never exists as a whole.
Stored divide_and_store(const at::Tensor& weight, const at::Tensor& scale, const LrQatOptions& options) {
  Stored out{
      quant::Phi0::allocate(weight.size(0), weight.size(1), options.downcast, options.grid, weight.device()),
      0.0};
  quant::for_each_tile(weight.size(0), weight.size(1), [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor steps = quant::divide_rows_by_scale(weight, scale, begin, end);
    out.phi_0.store_rows(begin, steps);
    out.clipped += quant::share_beyond(steps, options.grid) * static_cast<double>(end - begin);
  });
  out.clipped /= static_cast<double>(weight.size(0));
  return out;
}

}  // namespace

double LrQatOptions::scaling() const { return lora_scaling(lora_alpha, rank); }

quant::QuantSpec LrQatOptions::spec(bool symmetric) const { return {grid, granularity, scale, symmetric}; }

std::shared_ptr<LrQatWeight> LrQatWeight::prepare(const std::string& name, const at::Tensor& weight,
                                                  const LrQatOptions& options,
                                                  const quant::InitialRange& range, std::uint64_t seed) {
  options.granularity.check(name, weight.size(1));
  check_rank(options.rank);
  quant::check_finite(name, weight);
  quant::ScaleParameter scale(range.of(weight, options.spec(/*symmetric=*/true)).scale, options.scale);
  Stored stored = divide_and_store(weight, scale.effective(), options);
  const at::Tensor lora_a = at::zeros({weight.size(0), options.rank}, weight.options());
  const at::Tensor lora_b =
      quant::kaiming_uniform_rows(options.rank, weight.size(1), seed).to(weight.device());
  return std::make_shared<LrQatWeight>(options, std::move(stored.phi_0), std::move(scale), lora_a, lora_b,
                                       at::Tensor(), stored.clipped);
}

LrQatWeight::LrQatWeight(const LrQatOptions& options, quant::Phi0 phi_0, quant::ScaleParameter scale,
                         at::Tensor lora_a, at::Tensor lora_b, at::Tensor zero_point,
                         std::optional<double> clipped_at_start)
    : options_(options),
      phi_0_(std::move(phi_0)),
      scale_(std::move(scale)),
      lora_a_(std::move(lora_a)),
      lora_b_(std::move(lora_b)),
      shift_{std::move(zero_point), {}},
      clipped_at_start_(clipped_at_start) {
  LRQAT_CHECK(lora_a_.sizes() == at::IntArrayRef({out_features(), options_.rank}) && lora_a_.is_contiguous());
  LRQAT_CHECK(lora_b_.sizes() == at::IntArrayRef({options_.rank, in_features()}) && lora_b_.is_contiguous());
  const auto shape = options_.granularity.scale_shape(out_features(), in_features());
  LRQAT_CHECK(scale_.value().sizes() == at::IntArrayRef(shape), "scale shape ", scale_.value().sizes());
  lora_a_.set_requires_grad(true);
  lora_b_.set_requires_grad(true);
}

at::Device LrQatWeight::device() const { return phi_0_.tensor().device(); }

ops::StoredWeight LrQatWeight::stored(std::int64_t row_begin, std::int64_t row_end) const {
  ops::StoredWeight stored = phi_0_.stored(row_begin, row_end, scale_.effective(row_begin, row_end));
  stored.low_rank.lora_a = lora_a_.detach().slice(0, row_begin, row_end);
  stored.low_rank.lora_b = lora_b_.detach();
  stored.low_rank.lora_scaling = static_cast<float>(options_.scaling());
  stored.low_rank.round_separately = options_.downcast == quant::Downcast::integer;
  stored.low_rank.bfloat16_product = options_.bfloat16_product;
  return stored;
}

quant::WeightTile LrQatWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                         ops::ComputeType compute) const {
  const ops::StoredWeight rows = stored(row_begin, row_end);
  if (!shift_.defined()) return ops::quantized_tile(rows, compute);
  return quant::tile_of_codes(ops::low_rank_tile(rows, {.codes = true}).codes, rows.scale,
                              shift_.rows(row_begin, row_end), compute);
}

std::optional<ops::StoredWeight> LrQatWeight::stored_form() const {
  ops::StoredWeight whole = stored(0, out_features());
  whole.zero_point = shift_.zero_point;
  return whole;
}

std::vector<quant::Parameter> LrQatWeight::parameters() const {
  std::vector<quant::Parameter> parameters{{"lora_a", lora_a_, quant::ParameterKind::adapter},
                                           {"lora_b", lora_b_, quant::ParameterKind::adapter}};
  if (options_.scale.learn) parameters.push_back(scale_.parameter(options_.grid));
  return parameters;
}

std::vector<std::pair<std::string, at::Tensor>> LrQatWeight::buffers() const {
  std::vector<std::pair<std::string, at::Tensor>> buffers{{"phi_0", phi_0_.tensor()}};
  for (auto& buffer : scale_.buffers()) buffers.push_back(std::move(buffer));
  if (shift_.zero_point.defined()) buffers.emplace_back("zero_point", shift_.zero_point);
  for (auto& buffer : quant::clipped_at_start_buffer(clipped_at_start_)) buffers.push_back(std::move(buffer));
  return buffers;
}

void LrQatWeight::add_tile_gradient(std::int64_t row_begin, std::int64_t row_end,
                                    const at::Tensor& grad_weight, at::TensorList grads) const {
  const ops::TileTensors codes =
      ops::low_rank_tile(stored(row_begin, row_end), {.codes = true, .mask = true});
  at::Tensor shifted;  // what ds = Σ G ⊙ (q - z) has besides Σ G ⊙ q
  if (shift_.defined()) {
    shifted = quant::sum_of_groups(quant::grouped(grad_weight, scale_.value()))
                  .mul_(quant::rows_of(shift_.zero_point, row_begin, row_end).squeeze(2));
  }
  at::Tensor grad_scale = ops::low_rank_tile_gradient(codes, scale_.effective(row_begin, row_end),
                                                      grad_weight);  // grad_weight is dZ now
  if (shifted.defined()) grad_scale.sub_(shifted);
  const double scaling = options_.scaling();
  at::Tensor grad_a = grads[0].slice(0, row_begin, row_end);
  at::Tensor grad_b = grads[1];
  grad_a.addmm_(grad_weight, lora_b_.detach().t(), 1.0, scaling);
  grad_b.addmm_(lora_a_.detach().slice(0, row_begin, row_end).t(), grad_weight, 1.0, scaling);
  if (options_.scale.learn) quant::add_per_scale_gradient(scale_, grad_scale, row_begin, grads[2]);
}

quant::QuantizedWeight LrQatWeight::convert() const {
  quant::QuantizedWeight result;
  result.grid = options_.grid;
  result.granularity = options_.granularity;
  result.scale = scale_.effective().clone();
  result.zero_point = shift_.zero_point;
  result.weight_int = at::empty({out_features(), in_features()}, at::kChar);
  std::int64_t clipped = 0;
  quant::for_each_tile(out_features(), in_features(), [&](std::int64_t begin, std::int64_t end) {
    const ops::TileTensors rows = ops::low_rank_tile(stored(begin, end), {.codes = true, .clipped = true});
    result.weight_int.slice(0, begin, end).copy_(rows.codes);
    clipped += rows.clipped.sum().item<std::int64_t>();
  });
  result.clipped_fraction =
      static_cast<double>(clipped) / static_cast<double>(out_features() * in_features());
  if (clipped_at_start_ && !lora_a_.detach().any().item<bool>()) result.clipped_fraction = *clipped_at_start_;
  return result;
}

std::int64_t LrQatWeight::resident_bytes() const {
  return static_cast<std::int64_t>(phi_0_.tensor().nbytes() + scale_.value().nbytes() + lora_a_.nbytes() +
                                   lora_b_.nbytes());
}

}  // namespace lrqat::methods
