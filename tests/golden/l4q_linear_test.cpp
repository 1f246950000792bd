// nn::Linear over methods::L4qWeight against the equations of the paper, case by case: codes, y and every
// gradient; L4Q_init; and wrong rules, which must be noticed. T tokens, N out_features, K in_features, R
// rank.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/methods/l4q_weight.h"
#include "lrqat/ops/low_rank_tile.h"
#include "tests/golden/comparer.h"
#include "tests/golden/golden_data.h"
#include "tests/golden/linear_run.h"

namespace lrqat::golden {
namespace {

using methods::L4qOptions;
using methods::L4qWeight;

struct L4qCase {
  L4qCase(const GoldenFile& golden, const Json& json) : file(&golden), entry(json), name(describe(json)) {
    options.grid = {entry.at("num_bits"), entry.at("quant_min"), entry.at("quant_max")};
    const std::string kind = entry.at("granularity");
    options.granularity =
        quant::Granularity::parse(kind == "group" ? concat("group:", entry.at("group_size")) : kind);
    options.storage = at::kFloat;  // the vectors' W0
    options.rank = entry.at("rank");
    options.lora_alpha = entry.at("alpha").get<double>() * static_cast<double>(options.rank);
    options.scale.type = quant::ScaleType::float32;
    options.learn_offset = true;
  }

  at::Tensor stored(const std::string& what) const { return file->tensor(entry, what); }
  at::Tensor per_scale(const std::string& what) const {
    const at::Tensor w = stored("W0");
    return stored(what).view(options.granularity.scale_shape(w.size(0), w.size(1)));
  }
  std::shared_ptr<L4qWeight> weight(const L4qOptions& chosen) const {
    return std::make_shared<L4qWeight>(
        chosen, stored("W0"), quant::ScaleParameter::from_value(per_scale("s"), chosen.scale),
        chosen.learn_offset ? per_scale("b") : at::Tensor(), stored("B_out"), stored("A_in"));
  }
  double alpha() const { return entry.at("alpha"); }
  std::int64_t scales() const { return entry.at("n_groups"); }
  bool boundary_sensitive() const { return entry.at("boundary_sensitive"); }

  const GoldenFile* file;
  Json entry;
  std::string name;
  L4qOptions options;
};

template <typename Visit>
void for_each_case(const Visit& visit) {
  const GoldenFile file("l4q_linear");
  for (const Json& entry : file.cases()) visit(L4qCase(file, entry));
}

// ds and db cancel: they are measured against the largest sqrt(Σ (G·quant_min)²), sqrt(Σ G²) of a scale.
struct Sizes {
  double scale, offset;
};
Sizes sizes_of(const L4qCase& c) {
  const at::Tensor g = weight_gradient_rows(c.stored("X"), c.stored("dY"), c.scales());
  return {largest_root(g * c.options.grid.quant_min), largest_root(g)};
}

TEST(GoldenL4qLinear, CodesOutputAndGradients) {
  Comparer comparer;
  for_each_case([&](const L4qCase& c) {
    L4qOptions plain = c.options;
    plain.gradient_scaling = false;
    const auto weight = c.weight(plain);
    const quant::QuantizedWeight converted = weight->convert();
    comparer.check(c.name, "codes", c.stored("codes"), converted.weight_int, kExact);
    if (!c.boundary_sensitive()) {  // the count is of float64
      EXPECT_EQ(std::llround(converted.clipped_fraction * static_cast<double>(c.stored("W0").numel())),
                c.entry.at("n_clipped").get<std::int64_t>())
          << c.name;
    }
    const LinearRun run = run_linear(weight, c.stored("X"), c.stored("dY"));
    const Sizes sizes = sizes_of(c);
    comparer.check(c.name, "Y", c.stored("Y"), run.y, kFloatSum);
    comparer.check(c.name, "grad_X", c.stored("grad_X"), run.grad_x, kFloatSum);
    for (const std::string suffix : {"", "_f64"}) {
      if (!suffix.empty() && c.boundary_sensitive()) continue;  // float64 decides the clamp otherwise
      comparer.check(c.name, "grad_B_out", c.stored("grad_B_out" + suffix), run.grads.at("lora_a"),
                     kFloatSum);
      comparer.check(c.name, "grad_A_in", c.stored("grad_A_in" + suffix), run.grads.at("lora_b"), kFloatSum);
      comparer.check(c.name, "grad_s", c.stored("grad_s" + suffix), run.grads.at("scale"), kFloatSum,
                     sizes.scale);
      comparer.check(c.name, "grad_b", c.stored("grad_b" + suffix), run.grads.at("offset"), kFloatSum,
                     sizes.offset);
    }
  });
  EXPECT_GT(comparer.compared(), 0);
}

TEST(GoldenL4qLinear, GradientScaling) {
  Comparer comparer;
  for_each_case([&](const L4qCase& c) {
    const LinearRun run = run_linear(c.weight(c.options), c.stored("X"), c.stored("dY"));
    const double factor = c.entry.at("grad_scale_lsq");
    EXPECT_NEAR(quant::lsq_gradient_scale(c.stored("W0").numel(), c.per_scale("s"), c.options.grid.quant_max),
                factor, 1e-12);
    const Sizes sizes = sizes_of(c);
    comparer.check(c.name, "grad_s_lsq", c.stored("grad_s_lsq"), run.grads.at("scale"), kFloatSum,
                   sizes.scale * factor);
    comparer.check(c.name, "grad_b_lsq", c.stored("grad_b_lsq"), run.grads.at("offset"), kFloatSum,
                   sizes.offset * factor);
  });
  EXPECT_GT(comparer.compared(), 0);
}

// The gradient of the merged weight, read off an adapter that is the identity: dA = dW·Iᵀ.
TEST(GoldenL4qLinear, GradientOfTheMergedWeight) {
  Comparer comparer;
  for_each_case([&](const L4qCase& c) {
    L4qOptions options = c.options;
    const at::Tensor w0 = c.stored("W0");
    options.rank = w0.size(1);
    options.lora_alpha = static_cast<double>(options.rank);
    const at::Tensor merged = w0.clone();
    ops::add_low_rank_rows(merged, c.stored("B_out"), c.stored("A_in"), c.alpha(), 0);
    const L4qWeight weight(options, merged,
                           quant::ScaleParameter::from_value(c.per_scale("s"), options.scale),
                           c.per_scale("b"), at::zeros_like(w0), at::eye(w0.size(1)));
    const auto run = run_linear(std::make_shared<L4qWeight>(weight), c.stored("X"), c.stored("dY"));
    comparer.check(c.name, "grad_W_comb", c.stored("grad_W_comb"), run.grads.at("lora_a"), kFloatSum);
  });
  EXPECT_GT(comparer.compared(), 0);
}

// b frozen at 0, as it is exported: the same without b's gradient.
TEST(GoldenL4qLinear, FrozenOffset) {
  Comparer comparer;
  for_each_case([&](const L4qCase& c) {
    if (c.stored("b").ne(0).any().item<bool>()) return;
    L4qOptions options = c.options;
    options.learn_offset = false;
    const auto weight = c.weight(options);
    EXPECT_EQ(weight->parameters().size(), 3U);
    const LinearRun run = run_linear(weight, c.stored("X"), c.stored("dY"));
    comparer.check(c.name, "Y", c.stored("Y"), run.y, kFloatSum);
    comparer.check(c.name, "grad_B_out", c.stored("grad_B_out"), run.grads.at("lora_a"), kFloatSum);
    comparer.check(c.name, "grad_s_lsq", c.stored("grad_s_lsq"), run.grads.at("scale"), kFloatSum,
                   sizes_of(c).scale * c.entry.at("grad_scale_lsq").get<double>());
    EXPECT_FALSE(weight->convert().offset.defined()) << c.name;
  });
  EXPECT_GT(comparer.compared(), 0);
}

TEST(GoldenL4qLinear, Init) {
  Comparer comparer;
  const auto estimator = quant::RangeEstimator::parse("l4q");
  for_each_case([&](const L4qCase& c) {
    const at::Tensor start = estimator.estimate(c.stored("W0"), c.options.grid, c.options.granularity);
    comparer.check(c.name, "s_init", c.stored("s_init"), start, kOneMultiplication);
  });
  EXPECT_GT(comparer.compared(), 0);
}

// --- wrong rules must be noticed by the stored vectors

enum class Rule { right, ties_away, mask_rounded, no_mask, lr_qat_scale_gradient, no_alpha };

bool agrees(const L4qCase& c, Rule rule) {
  const auto& grid = c.options.grid;
  const at::Tensor a = c.stored("B_out").to(at::kDouble), b = c.stored("A_in").to(at::kDouble);
  const at::Tensor s = c.stored("s").to(at::kDouble).view({-1, 1}), shift = c.stored("b").view({-1, 1});
  const at::Tensor merged = c.stored("W0").to(at::kDouble) + c.alpha() * at::mm(a, b);
  const at::Tensor w = (merged.view({s.size(0), -1}) - shift) / s;
  const at::Tensor clipped = w.clamp(grid.quant_min, grid.quant_max);
  const at::Tensor codes =
      rule == Rule::ties_away ? clipped.sign() * (clipped.abs() + 0.5).floor() : clipped.round();
  const at::Tensor decided = rule == Rule::mask_rounded ? w.round() : w;
  at::Tensor mask = decided.ge(grid.quant_min).logical_and(decided.le(grid.quant_max));
  if (rule == Rule::no_mask) mask = at::ones_like(mask);
  const at::Tensor g = weight_gradient_rows(c.stored("X"), c.stored("dY"), c.scales());
  const at::Tensor slope = rule == Rule::lr_qat_scale_gradient ? codes : codes - mask * w;
  const double alpha = rule == Rule::no_alpha ? 1.0 : c.alpha();
  const Sizes sizes = sizes_of(c);
  Comparer comparer = Comparer::quiet();
  const at::Tensor dw = (g * mask).view(merged.sizes());
  bool same = comparer.check(c.name, "codes", c.stored("codes"), codes, kExact);
  same &= comparer.check(c.name, "dA", c.stored("grad_B_out"), alpha * at::mm(dw, b.t()), kFloatSum);
  same &= comparer.check(c.name, "ds", c.stored("grad_s"), (g * slope).sum(1), kFloatSum, sizes.scale);
  same &= comparer.check(c.name, "db", c.stored("grad_b"), (g * mask.logical_not()).sum(1), kFloatSum,
                         sizes.offset);
  return same;
}

TEST(GoldenL4qLinear, WrongRulesAreNoticed) {
  std::map<Rule, int> noticed;
  for_each_case([&](const L4qCase& c) {
    if (c.boundary_sensitive()) return;
    EXPECT_TRUE(agrees(c, Rule::right)) << c.name;
    for (const Rule rule :
         {Rule::ties_away, Rule::mask_rounded, Rule::no_mask, Rule::lr_qat_scale_gradient, Rule::no_alpha}) {
      noticed[rule] += agrees(c, rule) ? 0 : 1;
    }
  });
  EXPECT_EQ(noticed.size(), 5U);
  for (const auto& [rule, count] : noticed) EXPECT_GT(count, 0) << "rule " << static_cast<int>(rule);
}

}  // namespace
}  // namespace lrqat::golden
