// LSQ, PEQA and adapters outside of the quantizer against the reference's modules; the start by singular
// value decomposition. T tokens, N out_features, K in_features, R rank.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/methods/l4q_weight.h"
#include "lrqat/methods/lora_weight.h"
#include "lrqat/methods/lr_qat_start.h"
#include "lrqat/methods/lsq_weight.h"
#include "lrqat/methods/peqa_weight.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/low_rank_approximation.h"
#include "tests/golden/comparer.h"
#include "tests/golden/golden_data.h"
#include "tests/golden/linear_run.h"

namespace lrqat::golden {
namespace {

using ops::ComputeType;
using quant::WeightParametrization;
using WeightPtr = std::shared_ptr<WeightParametrization>;

constexpr double kSvdProduct = 2e-4;  // float32 decompositions
constexpr double kMinMax = 2e-6;

struct MethodCase {
  MethodCase(const GoldenFile& golden, const Json& json)
      : file(&golden),
        entry(json),
        name(describe(json)),
        grid(quant::Grid::signed_symmetric(json.at("num_bits"))) {
    const std::string kind = entry.at("granularity");
    granularity =
        quant::Granularity::parse(kind == "group" ? concat("group:", entry.at("group_size")) : kind);
    scale.type = quant::ScaleType::float32;
    scale.domain =
        entry.value("scale_domain", "linear") == "log" ? quant::ScaleDomain::log : quant::ScaleDomain::linear;
    scale.floor = entry.value("scale_eps", 0.0F);
  }
  at::Tensor stored(const std::string& what) const { return file->tensor(entry, what); }
  bool has(const std::string& what) const { return has_tensor(entry, what); }
  at::Tensor per_scale(const std::string& what) const {
    const at::Tensor w = stored("W");
    return stored(what).to(at::kFloat).view(granularity.scale_shape(w.size(0), w.size(1)));
  }
  quant::ScaleParameter scale_parameter() const {
    return quant::ScaleParameter::from_value(per_scale("delta"), scale);
  }
  bool symmetric() const { return entry.at("quantizer") == "symmetric"; }
  std::int64_t scales() const { return entry.at("n_scales"); }
  at::Tensor gradient_rows() const { return weight_gradient_rows(stored("X"), stored("dY"), scales()); }
  // Of the parameter: dδ = s·ds in the log domain.
  double chain() const {
    return scale.domain == quant::ScaleDomain::log ? stored("scale").max().item<double>() : 1.0;
  }

  const GoldenFile* file;
  Json entry;
  std::string name;
  quant::Grid grid;
  quant::Granularity granularity;
  quant::ScaleOptions scale;
};

template <typename Visit>
int for_each_case(const std::string& method, const Visit& visit) {
  const GoldenFile file("other_methods");
  int count = 0;
  for (const Json& entry : file.cases()) {
    if (entry.at("method") != method) continue;
    visit(MethodCase(file, entry));
    ++count;
  }
  return count;
}

using quant::values_of;

void compare_forward(Comparer& comparer, const MethodCase& c, const WeightParametrization& weight,
                     const LinearRun& run) {
  comparer.check(c.name, "W_hat", c.stored("W_hat"), values_of(weight), kOneMultiplication);
  comparer.check(c.name, "Y", c.stored("Y"), run.y, kFloatSum);
  comparer.check(c.name, "grad_X", c.stored("grad_X"), run.grad_x, kFloatSum);
}

// --- LSQ

std::shared_ptr<methods::LsqWeight> lsq_weight(const MethodCase& c, bool gradient_scaling) {
  const methods::LsqOptions options{c.grid, c.granularity, c.scale, c.symmetric(), gradient_scaling};
  return std::make_shared<methods::LsqWeight>(options, c.stored("W"), c.scale_parameter(),
                                              c.symmetric() ? at::Tensor() : c.per_scale("zero_float"));
}

// The reference's codes of an asymmetric grid start at 0.
at::Tensor reference_codes(const MethodCase& c, const at::Tensor& codes) {
  return c.symmetric() ? codes.to(at::kShort) : codes.to(at::kShort) - c.grid.quant_min;
}

void compare_lsq_gradients(Comparer& comparer, const MethodCase& c, const LinearRun& run) {
  const double factor = c.entry.at("grad_scale");
  const at::Tensor g = c.gradient_rows();
  const at::Tensor zero = c.symmetric() ? at::zeros({1}) : c.stored("zero_point").view({-1, 1});
  const at::Tensor q = c.stored("codes").view(g.sizes()) - zero;
  comparer.check(c.name, "grad_W", c.stored("grad_W"), run.grads.at("weight"), kFloatSum);
  comparer.check(c.name, "grad_delta", c.stored("grad_delta"), run.grads.at("scale"), kFloatSum,
                 largest_root(g * q) * factor * c.chain());
  if (c.symmetric()) return;
  const at::Tensor s = c.stored("scale").to(at::kDouble).view({-1, 1});
  comparer.check(c.name, "grad_zero_float", c.stored("grad_zero_float"), run.grads.at("zero_float"),
                 kFloatSum, largest_root(g * s) * factor);
}

TEST(GoldenOtherMethods, Lsq) {
  Comparer comparer;
  const int cases = for_each_case("lsq", [&](const MethodCase& c) {
    const auto weight = lsq_weight(c, c.entry.at("grad_scaling"));
    const quant::QuantizedWeight converted = weight->convert();
    comparer.check(c.name, "codes", c.stored("codes"), reference_codes(c, converted.weight_int), kExact);
    comparer.check(c.name, "scale", c.stored("scale"), converted.scale, kOneMultiplication);
    if (!c.symmetric()) {
      comparer.check(c.name, "zero_point", c.stored("zero_point"),
                     converted.zero_point.to(at::kFloat) - c.grid.quant_min, kExact);
    }
    const LinearRun run = run_linear(weight, c.stored("X"), c.stored("dY"));
    compare_forward(comparer, c, *weight, run);
    compare_lsq_gradients(comparer, c, run);
    EXPECT_TRUE(at::equal(values_of(quant::IntegerWeight("golden", converted)), values_of(*weight)))
        << c.name;
  });
  EXPECT_GT(cases, 0);
}

// Negative control: without the factor on the gradients the cases that have it are noticed.
TEST(GoldenOtherMethods, LsqWithoutGradientScalingIsNoticed) {
  int noticed = 0, cases = 0;
  for_each_case("lsq", [&](const MethodCase& c) {
    if (!c.entry.at("grad_scaling")) return;
    Comparer quiet = Comparer::quiet();
    compare_lsq_gradients(quiet, c, run_linear(lsq_weight(c, false), c.stored("X"), c.stored("dY")));
    noticed += quiet.worst().at("grad_delta") > kFloatSum ? 1 : 0;
    ++cases;
  });
  EXPECT_EQ(noticed, cases);
  EXPECT_GT(cases, 0);
}

// --- PEQA

std::shared_ptr<methods::PeqaWeight> codes_at_start(const MethodCase& c, bool learn_scale) {
  quant::QuantSpec options{c.grid, c.granularity, c.scale};
  options.scale.learn = learn_scale;
  const at::Tensor u = quant::divide_by_scale(c.stored("W"), c.per_scale("scale0"));
  return std::make_shared<methods::PeqaWeight>(
      options, quant::Phi0::store(u, quant::Downcast::integer, options.grid),
      quant::ScaleParameter::from_value(c.per_scale("delta"), options.scale), at::Tensor());
}

TEST(GoldenOtherMethods, Peqa) {
  Comparer comparer;
  const int cases = for_each_case("peqa", [&](const MethodCase& c) {
    const auto weight = codes_at_start(c, true);
    const quant::QuantizedWeight converted = weight->convert();
    comparer.check(c.name, "W_int0", c.stored("W_int0"), converted.weight_int, kExact);
    comparer.check(c.name, "codes", c.stored("codes"), converted.weight_int, kExact);
    comparer.check(c.name, "scale", c.stored("scale"), converted.scale, kOneMultiplication);
    const double size = largest_root(c.gradient_rows() * c.stored("codes").reshape({c.scales(), -1}));
    for (const WeightPtr& form : {WeightPtr(weight), WeightPtr(std::make_shared<TiledForm>(weight))}) {
      const LinearRun run = run_linear(form, c.stored("X"), c.stored("dY"));
      compare_forward(comparer, c, *weight, run);
      comparer.check(c.name, "grad_delta", c.stored("grad_delta"), run.grads.at("scale"), kFloatSum, size);
    }
  });
  EXPECT_GT(cases, 0);
}

// --- adapters outside of the quantizer

std::shared_ptr<methods::LoraWeight> lora_weight(const MethodCase& c) {
  WeightPtr base;
  if (c.entry.at("frozen_int")) {
    base = codes_at_start(c, true);
  } else {
    methods::LsqOptions options{c.grid, c.granularity, c.scale, true, false, false};
    base = std::make_shared<methods::LsqWeight>(options, c.stored("W"), c.scale_parameter(), at::Tensor());
  }
  const methods::LoraOptions options{c.entry.at("rank"), c.entry.at("lora_alpha")};
  return std::make_shared<methods::LoraWeight>(base, options, c.stored("A"), c.stored("B"));
}

TEST(GoldenOtherMethods, AdaptersOutside) {
  Comparer comparer;
  const int cases = for_each_case("qlora", [&](const MethodCase& c) {
    const auto weight = lora_weight(c);
    const LinearRun run = run_linear(weight, c.stored("X"), c.stored("dY"));
    compare_forward(comparer, c, *weight, run);
    comparer.check(c.name, "grad_A", c.stored("grad_A"), run.grads.at("lora_a"), kFloatSum);
    comparer.check(c.name, "grad_B", c.stored("grad_B"), run.grads.at("lora_b"), kFloatSum);
    const at::Tensor q = quant::divide_by_scale(c.stored("W"), c.per_scale("scale")).round();
    comparer.check(c.name, "grad_delta", c.stored("grad_delta"), run.grads.at("scale"), kFloatSum,
                   largest_root(c.gradient_rows() * q.reshape({c.scales(), -1})));
    EXPECT_FALSE(weight->is_quantized());
    EXPECT_FALSE(weight->obstacle().empty());
  });
  EXPECT_GT(cases, 0);
}

// The scales frozen, as --method qlora trains: the gradients need no dL/dŴ, and are the same.
TEST(GoldenOtherMethods, AdaptersOutsideOfFrozenCodes) {
  Comparer comparer;
  for_each_case("qlora", [&](const MethodCase& c) {
    if (!c.entry.at("frozen_int")) return;
    const methods::LoraOptions options{c.entry.at("rank"), c.entry.at("lora_alpha")};
    const auto weight = std::make_shared<methods::LoraWeight>(codes_at_start(c, false), options,
                                                              c.stored("A"), c.stored("B"));
    EXPECT_EQ(weight->parameters().size(), 2U);
    for (const WeightPtr& form : {WeightPtr(weight), WeightPtr(std::make_shared<TiledForm>(weight))}) {
      const LinearRun run = run_linear(form, c.stored("X"), c.stored("dY"));
      compare_forward(comparer, c, *weight, run);
      comparer.check(c.name, "grad_A", c.stored("grad_A"), run.grads.at("lora_a"), kFloatSum);
      comparer.check(c.name, "grad_B", c.stored("grad_B"), run.grads.at("lora_b"), kFloatSum);
    }
  });
  EXPECT_GT(comparer.compared(), 0);
}

// The reference merges adapters into frozen integers with the scale of before training although the scale was
// trained (README section 4, item 4): a fault. Rounding Ŵ on the trained scale must differ and be nearer to
// Ŵ.
TEST(GoldenOtherMethods, MergingByRoundingUsesTheTrainedScale) {
  int differing = 0, cases = 0;
  for_each_case("qlora", [&](const MethodCase& c) {
    if (!c.has("merged_codes")) return;
    ++cases;
    const auto weight = lora_weight(c);
    const WeightPtr merged = quant::merged_by_rounding("golden", weight);
    ASSERT_TRUE(merged->is_quantized());
    const at::Tensor codes = merged->convert().weight_int, theirs = c.stored("merged_codes");
    const at::Tensor u = quant::divide_by_scale(values_of(*weight), c.per_scale("scale"));
    EXPECT_TRUE(at::equal(codes, u.round().clamp(c.grid.quant_min, c.grid.quant_max).to(at::kChar)))
        << c.name;
    differing += at::equal(codes, theirs) ? 0 : 1;
    EXPECT_LE((codes - u).abs().sum().item<double>(), (theirs - u).abs().sum().item<double>()) << c.name;
  });
  EXPECT_GT(cases, 0);
  EXPECT_GT(2 * differing, cases);
}

// Merged into the float weight under a live quantizer, s·clip(round((W + γAB)/s)): that is L4Q's Ŵ with b =
// 0, another path to the same numbers. Adding the adapters to the rounded weight is not.
TEST(GoldenOtherMethods, MergingUnderALiveQuantizerIsTheForwardOfL4q) {
  Comparer comparer;
  int live = 0;
  for_each_case("qlora", [&](const MethodCase& c) {
    if (c.entry.at("frozen_int")) return;
    ++live;
    methods::L4qOptions options{
        c.grid, c.granularity, at::kFloat, c.entry.at("rank"), c.entry.at("lora_alpha"), c.scale};
    const methods::L4qWeight merged(options, c.stored("W"), c.scale_parameter(), {}, c.stored("A"),
                                    c.stored("B"));
    const at::Tensor x = c.stored("X").flatten(0, -2);
    const auto output = [&](const WeightParametrization& weight) { return at::mm(x, values_of(weight).t()); };
    const at::Tensor theirs = c.stored("merged_Y").flatten(0, -2);
    comparer.check(c.name, "merged_Y", theirs, output(merged), kFloatSum);
    Comparer quiet = Comparer::quiet();
    EXPECT_FALSE(quiet.check(c.name, "Y", theirs, output(*lora_weight(c)), kFloatSum)) << "negative control";
  });
  EXPECT_GT(live, 0);
}

// --- the start by singular value decomposition

TEST(GoldenOtherMethods, SvdStart) {
  Comparer comparer;
  const int cases = for_each_case("svd_init", [&](const MethodCase& c) {
    const at::Tensor w = c.stored("W");
    const double scaling = c.entry.at("lora_scaling");
    const std::int64_t rank = c.entry.at("rank");
    const auto factors = quant::low_rank_approximation(w - c.stored("Q"), rank, scaling, 1);
    const at::Tensor product = scaling * at::mm(factors.left, factors.right);
    comparer.check(c.name, "AB", c.stored("AB"), product, kSvdProduct);
    const at::Tensor singular = c.stored("singular_values").slice(0, 0, rank);
    comparer.check(c.name, "|A|", singular.sqrt(), factors.left.norm(2, {0}), kSvdProduct);
    comparer.check(c.name, "|B|", singular.sqrt(), factors.right.norm(2, {1}), kSvdProduct);
    comparer.check(c.name, "err", c.stored("err"), (w - c.stored("Q") - product).norm(), kSvdProduct);
    if (c.entry.at("steps") != 1) return;  // the reference estimates the range again at every step
    const auto rounded = quant::round_to_nearest("golden", w, {c.grid, c.granularity, c.scale});
    const quant::IntegerWeight start("golden", rounded);
    comparer.check(c.name, "Q", c.stored("Q"), values_of(start), kMinMax);
    const auto loop = quant::approximate_residue(
        w, [&](const at::Tensor&) { return values_of(start); }, rank, scaling, 1, 1);
    comparer.check(c.name, "loop", c.stored("AB"), scaling * at::mm(loop.factors.left, loop.factors.right),
                   kSvdProduct);
  });
  EXPECT_GT(cases, 0);
}

// s·(Φ0 + γAB) of LR-QAT on integers, before rounding: how near to W the start is.
at::Tensor unrounded_start(const MethodCase& c, std::int64_t rank, double alpha) {
  const methods::LrQatOptions options{c.grid, c.granularity, quant::Downcast::int4, rank, alpha, c.scale};
  const auto weight = methods::start_lr_qat("golden", c.stored("W"), options, {true, false, 1}, {}, 1);
  const quant::Phi0 phi(weight->buffers()[0].second, weight->in_features(), options.downcast, c.grid,
                        "phi_0");
  const auto parameters = weight->parameters();
  const at::Tensor term = c.entry.at("lora_scaling").get<double>() *
                          at::mm(parameters[0].value.detach(), parameters[1].value.detach());
  return weight->scale().effective() * (phi.decode(0, weight->out_features()) + term);
}

// The same outside of the quantizer: integers of W and adapters from what they leave (LoftQ).
at::Tensor outside_start(const MethodCase& c, std::int64_t rank, double alpha) {
  const quant::QuantSpec spec{c.grid, c.granularity, c.scale};
  const auto base = [&](const at::Tensor& from) {
    return methods::PeqaWeight::prepare("golden", from, spec, {});
  };
  const auto round = [&](const at::Tensor& from) { return values_of(*base(from)); };
  const auto start = quant::approximate_residue(c.stored("W"), round, rank, c.entry.at("lora_scaling"), 1, 1);
  return values_of(methods::LoraWeight(base(start.rounded_from), {rank, alpha},
                                       start.factors.left.contiguous(), start.factors.right.contiguous()));
}

// The reference quantizes twice at its start by decomposition, the second time with a range estimated on W -
// AB, and divides the adapters of square layers by the square roots of scales of rows and of columns (README
// section 4, item 8): faults. Ours keeps the codes whose residue the adapters hold, so whatever the weight it
// is never farther from it than rounding is. Where adapters stand outside of the quantizer theirs rounds
// another matrix, which they make up for nothing of; in the integer domain the two come out alike, theirs a
// little nearer or farther as its second range happens to lie.
TEST(GoldenOtherMethods, SvdStartKeepsTheCodesOfItsResidue) {
  const int cases = for_each_case("svd_attach", [&](const MethodCase& c) {
    const at::Tensor w = c.stored("W");
    const std::int64_t rank = c.entry.at("rank");
    const double scaling = c.entry.at("lora_scaling"), alpha = scaling * static_cast<double>(rank);
    const bool integers = c.entry.at("lora_in_integer_domain");
    const at::Tensor ours = integers ? unrounded_start(c, rank, alpha) : outside_start(c, rank, alpha);
    const at::Tensor term = scaling * at::mm(c.stored("A"), c.stored("B"));
    const at::Tensor theirs =
        integers ? c.per_scale("scale") * (c.stored("W_int") + term) : c.stored("W_hat");
    const auto distance = [&](const at::Tensor& start) { return (start - w).norm().item<double>(); };
    const quant::IntegerWeight rounded(
        "golden", quant::round_to_nearest("golden", w, {c.grid, c.granularity, c.scale}));
    EXPECT_LE(distance(ours), (1 + 1e-5) * distance(values_of(rounded))) << c.name;
    if (!integers) {
      EXPECT_LT(distance(ours), distance(theirs)) << c.name;
    }
    RecordProperty(c.name, concat(distance(ours), " ours, ", distance(theirs), " theirs, ",
                                  distance(values_of(rounded)), " rounded"));
  });
  EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace lrqat::golden
