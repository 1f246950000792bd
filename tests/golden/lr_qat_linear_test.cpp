// nn::Linear over methods::LrQatWeight against the reference's modules, case by case: Φ0, codes, Ŵ, y and
// every gradient, in each form that the gradient has.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/nn/linear.h"
#include "lrqat/ops/backend.h"
#include "tests/golden/comparer.h"
#include "tests/golden/lr_qat_case.h"

namespace lrqat::golden {
namespace {

using methods::LrQatWeight;
using ops::ComputeType;

// LR-QAT with the form of its gradient prescribed, where the layer would choose by the share of clipped
// weights.
enum class Form { tiles, blocks, low_rank };
class PrescribedForm final : public quant::WeightParametrization {
 public:
  PrescribedForm(std::shared_ptr<LrQatWeight> weight, Form form) : weight_(std::move(weight)), form_(form) {}
  std::int64_t out_features() const override { return weight_->out_features(); }
  std::int64_t in_features() const override { return weight_->in_features(); }
  at::Device device() const override { return weight_->device(); }
  quant::WeightTile make_tile(std::int64_t begin, std::int64_t end, ComputeType compute) const override {
    return weight_->make_tile(begin, end, compute);
  }
  std::vector<quant::Parameter> parameters() const override { return weight_->parameters(); }
  void add_tile_gradient(std::int64_t begin, std::int64_t end, const at::Tensor& grad_weight,
                         at::TensorList grads) const override {
    ASSERT_EQ(form_, Form::tiles);
    weight_->add_tile_gradient(begin, end, grad_weight, grads);
  }
  bool add_gradient_from_activations(const ops::LinearGradient& linear, at::TensorList grads) const override {
    if (form_ == Form::low_rank) return weight_->add_low_rank_gradient(linear, grads, 1.0);
    return form_ == Form::blocks && weight_->add_blockwise_gradient(linear, grads);
  }
  std::optional<ops::StoredWeight> stored_form() const override {
    return form_ == Form::tiles ? std::nullopt : weight_->stored_form();
  }
  std::int64_t most_clipped(ComputeType compute) const override {
    return form_ == Form::tiles ? 0 : weight_->most_clipped(compute);
  }
  std::int64_t resident_bytes() const override { return weight_->resident_bytes(); }

 private:
  std::shared_ptr<LrQatWeight> weight_;
  Form form_;
};

struct Outcome {
  at::Tensor y;
  std::map<std::string, at::Tensor> grads;  // grad_X, grad_A, grad_B, grad_delta, grad_bias
};

Outcome run_linear(const LrQatCase& c, const std::shared_ptr<quant::WeightParametrization>& weight) {
  // Our Linear keeps a bias frozen; its gradient exists as soon as the tensor that is passed in asks for it.
  const at::Tensor bias = c.bias.defined() ? c.bias.clone().requires_grad_() : at::Tensor();
  const nn::Linear linear("golden", weight, bias, ComputeType::float32);
  const at::Tensor x = c.x.clone().requires_grad_();
  Outcome outcome;
  outcome.y = linear.forward(x);
  std::vector<std::string> names{"grad_X", "grad_A", "grad_B"};
  std::vector<at::Tensor> inputs{x};
  for (const auto& parameter : weight->parameters()) inputs.push_back(parameter.value);
  if (inputs.size() == 4) names.emplace_back("grad_delta");
  if (bias.defined()) {
    names.emplace_back("grad_bias");
    inputs.push_back(bias);
  }
  const auto grads = torch::autograd::grad({outcome.y}, inputs, {c.grad_y});
  for (std::size_t i = 0; i < names.size(); ++i) outcome.grads[names[i]] = grads[i];
  return outcome;
}

// The scale gradient's sum cancels: it is measured against the largest sqrt(Σ (G·code)²) of a group.
double scale_gradient_size(const LrQatCase& c) {
  const at::Tensor x = c.x.flatten(0, 1).to(at::kDouble), dy = c.grad_y.flatten(0, 1).to(at::kDouble);
  const at::Tensor terms = at::mm(dy.t(), x) * c.stored("codes");
  const double root = terms.reshape({c.delta.numel(), -1}).square().sum(1).max().sqrt().item<double>();
  const bool log = c.options.scale.domain == quant::ScaleDomain::log;
  const double factor = log ? c.stored("scale").max().item<double>() : 1.0;
  return std::max(root * factor, c.stored("grad_delta").abs().max().item<double>());
}

void compare_outcome(Comparer& comparer, const LrQatCase& c, const Outcome& outcome) {
  comparer.check(c.name, "Y", c.stored("Y"), outcome.y, kFloatSum);
  for (const auto& [name, grad] : outcome.grads) {
    const bool product = name == "grad_A" || name == "grad_B";
    comparer.check(c.name, name, c.stored(name), grad,
                   product && c.options.bfloat16_product ? kBfloat16Product : kFloatSum,
                   name == "grad_delta" ? scale_gradient_size(c) : 0.0);
  }
  EXPECT_EQ(outcome.grads.contains("grad_delta"), c.has("grad_delta")) << c.name;
}

// Calls visit(case) for the cases of a symmetric grid; returns how many others there are.
template <typename Visit>
int for_each_case(const Visit& visit) {
  const GoldenFile file("lr_qat_linear");
  int left_out = 0;
  for (const Json& entry : file.cases()) {
    const LrQatCase c(file, entry);
    if (c.asymmetric()) {
      ++left_out;  // AsymmetricCasesIgnoreTheZeroPoint
    } else {
      visit(c);
    }
  }
  return left_out;
}

TEST(GoldenLrQatLinear, PhiCodesAndWeight) {
  Comparer comparer;
  for_each_case([&](const LrQatCase& c) {
    const auto weight = c.weight();
    if (c.has("phi0")) {
      const at::Tensor stored = weight->buffers()[0].second;
      comparer.check(c.name, "phi0", c.stored("phi0"), stored, kExact);
      EXPECT_EQ(stored.scalar_type(), c.stored("phi0").scalar_type()) << c.name;
    }
    if (c.has("W_int0")) {
      comparer.check(c.name, "W_int0", c.stored("W_int0"), c.phi_0.decode(0, c.phi_0.out_features()), kExact);
    }
    const auto converted = weight->convert();
    comparer.check(c.name, "codes", c.stored("codes"), converted.weight_int, kExact);
    comparer.check(c.name, "scale", c.stored("scale"), converted.scale, kOneMultiplication);
    const at::Tensor values = weight->make_tile(0, weight->out_features(), ComputeType::float32).values;
    comparer.check(c.name, "W_hat", c.stored("W_hat"), values, kOneMultiplication);
    const auto count = [&](const char* key) { return c.entry.at(key).get<std::int64_t>(); };
    EXPECT_EQ(converted.weight_int.eq(c.options.grid.quant_min).sum().item<std::int64_t>(),
              count("n_at_quant_min"))
        << c.name;
    EXPECT_EQ(converted.weight_int.eq(c.options.grid.quant_max).sum().item<std::int64_t>(),
              count("n_at_quant_max"))
        << c.name;
    // The count rounds Z itself, where the integer variant rounds the low-rank term: other ties.
    if (c.options.downcast == quant::Downcast::integer && count("n_exact_ties") > 0) return;
    EXPECT_DOUBLE_EQ(converted.clipped_fraction,
                     static_cast<double>(count("n_clipped")) / static_cast<double>(c.u.numel()))
        << c.name;
  });
  EXPECT_GT(comparer.compared(), 0);
}

TEST(GoldenLrQatLinear, OutputAndTiledGradient) {
  Comparer comparer;
  for_each_case([&](const LrQatCase& c) {
    compare_outcome(comparer, c, run_linear(c, std::make_shared<PrescribedForm>(c.weight(), Form::tiles)));
  });
  EXPECT_GT(comparer.compared(), 0);
}

TEST(GoldenLrQatLinear, OutputAndBlockwiseGradient) {
  if (!ops::block_products(ComputeType::float32)) GTEST_SKIP() << "no block products on this machine";
  Comparer comparer;
  for_each_case([&](const LrQatCase& c) {
    compare_outcome(comparer, c, run_linear(c, std::make_shared<PrescribedForm>(c.weight(), Form::blocks)));
  });
  EXPECT_GT(comparer.compared(), 0);
}

// method.md section 5, for every case that has one scale a row or a tensor, whatever share of it is clipped.
TEST(GoldenLrQatLinear, ExactLowRankGradient) {
  Comparer comparer;
  for_each_case([&](const LrQatCase& c) {
    if (c.options.granularity.kind == quant::Granularity::Kind::group) return;
    compare_outcome(comparer, c, run_linear(c, std::make_shared<PrescribedForm>(c.weight(), Form::low_rank)));
  });
  EXPECT_GT(comparer.compared(), 0);
}

// As the layer itself chooses.
TEST(GoldenLrQatLinear, OutputAndGradientAsTrained) {
  Comparer comparer;
  for_each_case([&](const LrQatCase& c) { compare_outcome(comparer, c, run_linear(c, c.weight())); });
  EXPECT_GT(comparer.compared(), 0);
}

void expect_equal(const LrQatCase& c, const at::Tensor& kernel, const at::Tensor& aten, const char* what) {
  EXPECT_EQ(kernel.scalar_type(), aten.scalar_type()) << c.name << " " << what;
  EXPECT_TRUE(at::equal(kernel, aten)) << c.name << " " << what;
}

// What runs on other devices than the CPU gives the kernels' codes, masks and values, bit for bit.
TEST(GoldenLrQatLinear, ATenFormEqualsTheKernels) {
  constexpr ops::TileOutputs kAll{true, true, true, true, true};
  Comparer comparer;
  for_each_case([&](const LrQatCase& c) {
    const std::int64_t rows = c.phi_0.out_features(), begin = rows / 3;
    const at::Tensor scale = c.weight()->scale().effective(begin, rows);
    const ops::StoredWeight stored = c.weight()->stored_form()->rows(begin, rows);
    const auto kernel = ops::low_rank_tile(stored, kAll),
               aten = ops::plain_backend().low_rank_tile(stored, kAll);
    expect_equal(c, kernel.codes, aten.codes, "codes");
    expect_equal(c, kernel.mask, aten.mask, "mask");
    expect_equal(c, kernel.values, aten.values, "values");
    expect_equal(c, kernel.bfloat16_codes, aten.bfloat16_codes, "bfloat16 codes");
    expect_equal(c, kernel.clipped, aten.clipped, "clipped");
    at::Tensor grad = at::mm(c.grad_y.flatten(0, 1).t(), c.x.flatten(0, 1)).slice(0, begin, rows).clone();
    at::Tensor grad_aten = grad.clone();
    const at::Tensor ds = ops::low_rank_tile_gradient(kernel, scale, grad);
    const at::Tensor ds_aten = ops::plain_backend().low_rank_tile_gradient(aten, scale, grad_aten);
    expect_equal(c, grad, grad_aten, "dZ");
    comparer.check(c.name, "ds", ds, ds_aten, kFloatSum,
                   c.has("grad_delta") ? scale_gradient_size(c) : ds.abs().max().item<double>());
  });
  EXPECT_GT(comparer.compared(), 0);
}

// convert() gives the codes of training. The reference's merge casts to int8 before it clips, so its integers
// wrap around wherever a rounded value lies beyond int8: a fault, and there we must differ, in exactly the
// stored number of entries. merged_Y, stored for these cases only, belongs to the wrapped integers.
TEST(GoldenLrQatLinear, ConvertedCodesAreTheTrainedOnes) {
  Comparer comparer;
  int wrapped = 0;
  for_each_case([&](const LrQatCase& c) {
    const at::Tensor codes = c.weight()->convert().weight_int;
    const auto differing = c.entry.at("n_merge_differs").get<std::int64_t>();
    const at::Tensor merged = c.stored("merged_codes");
    EXPECT_EQ(codes.ne(merged).sum().item<std::int64_t>(), differing) << c.name;
    if (differing == 0) {
      comparer.check(c.name, "merged_codes", merged, codes, kExact);
    } else {
      ++wrapped;
      EXPECT_EQ(c.options.grid.num_bits, 8) << c.name;
      EXPECT_TRUE(at::equal(codes, c.stored("codes"))) << c.name;
    }
  });
  EXPECT_GT(comparer.compared(), 0);
  RecordProperty("wrapped", wrapped);
}

// The reference runs asymmetric grids without their zero point, so that everything below zero becomes code 0:
// a fault. We honour it, clip(round(Z) + z, 0, 15) - z: other codes, and values that are nearer to s·Z.
TEST(GoldenLrQatLinear, AsymmetricCasesIgnoreTheZeroPoint) {
  const GoldenFile file("lr_qat_linear");
  for (const Json& entry : file.cases()) {
    const LrQatCase c(file, entry);
    if (!c.asymmetric()) continue;
    methods::LrQatOptions options = c.options;
    options.grid = quant::Grid::signed_symmetric(c.options.grid.num_bits);
    const auto range =
        quant::RangeEstimator{}.estimate_asymmetric(c.stored("W"), options.grid, options.granularity);
    const at::Tensor zero_point = range.zero_point(options.grid);
    const at::Tensor u = c.u + zero_point;
    const methods::LrQatWeight weight(options, quant::Phi0::store(u, options.downcast, options.grid),
                                      quant::ScaleParameter::from_value(c.delta.clone(), options.scale),
                                      c.lora_a.clone(), c.lora_b.clone(), zero_point);
    const at::Tensor ours = weight.make_tile(0, u.size(0), ComputeType::float32).values;
    const at::Tensor exact = weight.scale().effective() *
                             (c.u + c.options.lora_alpha / c.options.rank * at::mm(c.lora_a, c.lora_b));
    EXPECT_FALSE(at::allclose(ours, c.stored("W_hat"))) << c.name;
    EXPECT_LT(3 * (ours - exact).abs().mean().item<double>(),
              (c.stored("W_hat") - exact).abs().mean().item<double>())
        << c.name;
  }
}

// --- the second negative control: rules that are wrong must be noticed by the stored vectors

enum class Rule { right, ties_away, mask_unrounded, no_mask, strict_mask, lsq_scale_gradient, no_scaling };

at::Tensor round_by(Rule rule, const at::Tensor& z) {
  return rule == Rule::ties_away ? z.sign() * (z.abs() + 0.5).floor() : z.round();
}

// The equations of README section 3 in float64, with one rule changed. True where all of codes, grad_A,
// grad_B and grad_delta agree.
bool agrees(const LrQatCase& c, Rule rule) {
  const auto& grid = c.options.grid;
  const double scaling = c.options.lora_alpha / static_cast<double>(c.options.rank);
  const at::Tensor a = c.lora_a.to(at::kDouble), b = c.lora_b.to(at::kDouble);
  const at::Tensor phi = c.phi_0.decode(0, c.u.size(0)).to(at::kDouble);
  const at::Tensor term = at::mm(a, b) * scaling;
  const bool integer = c.options.downcast == quant::Downcast::integer;
  const at::Tensor z = phi + term;
  const at::Tensor rounded = integer ? phi + round_by(rule, term) : round_by(rule, z);
  const at::Tensor codes = rounded.clamp(grid.quant_min, grid.quant_max);
  const at::Tensor decided = rule == Rule::mask_unrounded ? z : rounded;
  at::Tensor mask = decided.ge(grid.quant_min).logical_and(decided.le(grid.quant_max));
  if (rule == Rule::no_mask) mask = at::ones_like(mask);
  if (rule == Rule::strict_mask) mask = decided.gt(grid.quant_min).logical_and(decided.lt(grid.quant_max));
  const at::Tensor g = at::mm(c.grad_y.flatten(0, 1).t().to(at::kDouble), c.x.flatten(0, 1).to(at::kDouble));
  const at::Tensor scale = c.stored("scale").to(at::kDouble).view({-1, 1});
  const at::Tensor dz = ((g * mask).view({scale.size(0), -1}) * scale).view(g.sizes());
  const double factor = rule == Rule::no_scaling ? 1.0 : scaling;
  Comparer comparer = Comparer::quiet();
  bool same = comparer.check(c.name, "codes", c.stored("codes"), codes, kExact);
  same &= comparer.check(c.name, "grad_A", c.stored("grad_A"), factor * at::mm(dz, b.t()), kFloatSum);
  same &= comparer.check(c.name, "grad_B", c.stored("grad_B"), factor * at::mm(a.t(), dz), kFloatSum);
  if (c.has("grad_delta")) {
    const at::Tensor q = rule == Rule::lsq_scale_gradient ? codes - mask * z : codes;
    const bool log = c.options.scale.domain == quant::ScaleDomain::log;
    const at::Tensor chain = log ? scale : c.stored("delta").view({-1, 1}).ge(c.options.scale.floor);
    const at::Tensor ds = (g * q).view({scale.size(0), -1}).sum(1, true) * chain;
    same &= comparer.check(c.name, "ds", c.stored("grad_delta"), ds, kFloatSum, scale_gradient_size(c));
  }
  return same;
}

TEST(GoldenLrQatLinear, WrongRulesAreNoticed) {
  std::map<Rule, int> noticed;
  int cases = 0;
  for_each_case([&](const LrQatCase& c) {
    if (c.options.bfloat16_product) return;  // the float64 equations do not hold the bfloat16 product
    ++cases;
    EXPECT_TRUE(agrees(c, Rule::right)) << c.name;
    for (const Rule rule : {Rule::ties_away, Rule::mask_unrounded, Rule::no_mask, Rule::strict_mask,
                            Rule::lsq_scale_gradient, Rule::no_scaling}) {
      noticed[rule] += agrees(c, rule) ? 0 : 1;
    }
  });
  for (const auto& [rule, count] : noticed) {
    EXPECT_GT(count, 0) << "rule " << static_cast<int>(rule) << " of " << cases << " cases";
  }
  EXPECT_EQ(noticed.size(), 6U);
}

}  // namespace
}  // namespace lrqat::golden
