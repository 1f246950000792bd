#include "lrqat/methods/lora_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/methods/method.h"
#include "lrqat/methods/peqa_weight.h"
#include "lrqat/ops/low_rank_gradient.h"
#include "lrqat/ops/low_rank_tile.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/quant/low_rank_approximation.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::methods {
std::shared_ptr<LoraWeight> LoraWeight::around(std::shared_ptr<quant::WeightParametrization> base,
                                               const LoraOptions& options, std::uint64_t seed) {
  check_rank(options.rank);
  const auto on_device = at::TensorOptions(at::kFloat).device(base->device());
  const at::Tensor lora_a = at::zeros({base->out_features(), options.rank}, on_device);
  const at::Tensor lora_b =
      quant::kaiming_uniform_rows(options.rank, base->in_features(), seed).to(base->device());
  return std::make_shared<LoraWeight>(std::move(base), options, lora_a, lora_b);
}

double LoraWeight::scaling() const { return lora_scaling(options_.lora_alpha, options_.rank); }

LoraWeight::LoraWeight(std::shared_ptr<quant::WeightParametrization> base, const LoraOptions& options,
                       at::Tensor lora_a, at::Tensor lora_b)
    : base_(std::move(base)), options_(options), lora_a_(std::move(lora_a)), lora_b_(std::move(lora_b)) {
  LRQAT_CHECK(lora_a_.sizes() == at::IntArrayRef({out_features(), options_.rank}) && lora_a_.is_contiguous());
  LRQAT_CHECK(lora_b_.sizes() == at::IntArrayRef({options_.rank, in_features()}) && lora_b_.is_contiguous());
  lora_a_.set_requires_grad(true);
  lora_b_.set_requires_grad(true);
}

quant::WeightTile LoraWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                        ops::ComputeType compute) const {
  const at::Tensor values = base_->make_tile(row_begin, row_end, ops::ComputeType::float32)
                                .to_float()
                                .clone(at::MemoryFormat::Contiguous);
  ops::add_low_rank_rows(values, lora_a_, lora_b_, scaling(), row_begin);
  return {compute == ops::ComputeType::bfloat16 ? values.to(at::kBFloat16) : values, {}};
}

std::optional<ops::StoredWeight> LoraWeight::stored_form() const {
  auto stored = base_->stored_form();
  if (!stored || !stored->is_float) return std::nullopt;
  stored->low_rank.lora_a = lora_a_.detach();
  stored->low_rank.lora_b = lora_b_.detach();
  stored->low_rank.lora_scaling = static_cast<float>(scaling());
  return stored;
}

std::vector<quant::Parameter> LoraWeight::parameters() const {
  std::vector<quant::Parameter> parameters{{"lora_a", lora_a_, quant::ParameterKind::adapter},
                                           {"lora_b", lora_b_, quant::ParameterKind::adapter}};
  for (const quant::Parameter& parameter : base_->parameters()) parameters.push_back(parameter);
  return parameters;
}

std::vector<std::pair<std::string, at::Tensor>> LoraWeight::buffers() const {
  if (const at::Tensor plain = base_->float_storage(); plain.defined()) return {{"weight", plain}};
  return base_->buffers();
}

void LoraWeight::add_tile_gradient(std::int64_t row_begin, std::int64_t row_end,
                                   const at::Tensor& grad_weight, at::TensorList grads) const {
  const at::Tensor a = lora_a_.detach().slice(0, row_begin, row_end);
  at::Tensor grad_a = grads[0].slice(0, row_begin, row_end), grad_b = grads[1];
  grad_a.addmm_(grad_weight, lora_b_.detach().t(), 1.0, scaling());
  grad_b.addmm_(a.t(), grad_weight, 1.0, scaling());
  base_->add_tile_gradient(row_begin, row_end, grad_weight, grads.slice(2));
}

bool LoraWeight::add_gradient_from_activations(const ops::LinearGradient& linear,
                                               at::TensorList grads) const {
  if (grads.size() > 2) return false;  // the base's output is not known apart
  const ops::LowRankGradient gradient = ops::adapter_gradient(linear, lora_a_.detach(), lora_b_.detach());
  at::Tensor(grads[0]).add_(gradient.lora_a, scaling());
  at::Tensor(grads[1]).add_(gradient.lora_b, scaling());
  return true;
}

std::string LoraWeight::obstacle() const {
  if (!base_->is_quantized()) {
    return "a float weight with adapters: LoRA trains no integers; lrqat export --format peft or hf holds it";
  }
  return "the adapters of `method` qlora stay in float beside the integers, so that no integers are this "
         "model; "
         "lrqat export --format peft holds both, lrqat convert --round-adapters rounds their sum to the grid "
         "once "
         "more (another, usually worse model), `method` lr-qat or l4q trains adapters that are absorbed "
         "exactly";
}

std::int64_t LoraWeight::resident_bytes() const {
  return base_->resident_bytes() + static_cast<std::int64_t>(lora_a_.nbytes() + lora_b_.nbytes());
}

// --- the rows

namespace {

// Integers that stay as they are.
quant::QuantSpec frozen_base(const LayerOptions& options) {
  quant::QuantSpec spec = options.spec;
  spec.scale.learn = false;
  return spec;
}

LoraOptions lora_options(const LayerOptions& options) { return {options.rank, options.lora_alpha}; }

WeightPtr prepare_qlora(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  return LoraWeight::around(PeqaWeight::prepare(name, weight, frozen_base(options), options.range),
                            lora_options(options), options.seed);
}

WeightPtr qlora_from_integers(const std::string&, const quant::RoundedWeight& start,
                              const LayerOptions& options) {
  return LoraWeight::around(PeqaWeight::of(start.rounded, frozen_base(options)), lora_options(options),
                            options.seed);
}

// LoftQ: integers and adapters that together start near to the weight.
WeightPtr qlora_from_decomposition(const std::string& name, const at::Tensor& weight,
                                   const LayerOptions& options) {
  const auto prepare = [&](const at::Tensor& from) {
    return PeqaWeight::prepare(name, from, frozen_base(options), options.range);
  };
  const auto round = [&](const at::Tensor& from) { return quant::values_of(*prepare(from)); };
  if (options.lora_alpha <= 0.0) throw UsageError("`init` svd needs a `lora-alpha` above 0");
  const quant::ResidueStart start = quant::approximate_residue(weight, round, options.rank, options.scaling(),
                                                               options.svd_steps, options.seed);
  return std::make_shared<LoraWeight>(prepare(start.rounded_from), lora_options(options),
                                      start.factors.left.contiguous(), start.factors.right.contiguous());
}

WeightPtr restore_qlora(const SavedLayer& saved, const LayerOptions& options) {
  return std::make_shared<LoraWeight>(PeqaWeight::restore(saved, frozen_base(options)), lora_options(options),
                                      saved.at("lora_a"), saved.at("lora_b"));
}

WeightPtr prepare_lora(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  quant::check_finite(name, weight);
  return LoraWeight::around(std::make_shared<quant::FloatWeight>(weight.to(options.weight_dtype)),
                            lora_options(options), options.seed);
}

WeightPtr restore_lora(const SavedLayer& saved, const LayerOptions& options) {
  return std::make_shared<LoraWeight>(std::make_shared<quant::FloatWeight>(saved.at("weight")),
                                      lora_options(options), saved.at("lora_a"), saved.at("lora_b"));
}

// Adapters that stay in float are for fitting a text. In bfloat16 the sum of a weight and a small adapter is
// the weight.
constexpr MethodDefaults kDefaults{.lr = 2e-4, .distill_weight = 0.0, .compute = ops::ComputeType::float32};

}  // namespace

Method qlora_method() {
  return {.name = "qlora",
          .has_adapters = true,
          .adapters_stay = true,
          .defaults = kDefaults,
          .prepare = prepare_qlora,
          .from_integers = qlora_from_integers,
          .from_decomposition = qlora_from_decomposition,
          .restore = restore_qlora,
          .frozen_bytes = code_bytes};
}

Method lora_method() {
  return {.name = "lora",
          .has_grid = false,
          .has_adapters = true,
          .adapters_stay = true,
          .reads = {.weight_dtype = true},
          .defaults = kDefaults,
          .prepare = prepare_lora,
          .restore = restore_lora,
          .frozen_bytes = float_bytes};
}
}  // namespace lrqat::methods
