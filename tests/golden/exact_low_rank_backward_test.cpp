// The exact low-rank backward (method.md section 5) on cases of the stored kind. The file holds the errors of
// a float64 derivation against autograd, not the matrices, so each case is drawn again in its shape, with its
// share of clipped weights, and our float32 gradients are compared with the float64 equations.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/methods/lr_qat_weight.h"
#include "tests/golden/comparer.h"
#include "tests/golden/golden_data.h"

namespace lrqat::golden {
namespace {

struct Drawn {
  methods::LrQatOptions options;
  at::Tensor u, a, b, scale, x, dy;  // [N, K], [N, R], [R, K], [N, G], [T, K], [T, N]

  double scaling() const { return options.lora_alpha / static_cast<double>(options.rank); }
};

// Z is drawn inside the grid, then the stored share of its entries is moved beyond either end.
Drawn draw(const Json& entry) {
  at::manual_seed(entry.at("seed").get<std::uint64_t>() * 31 + entry.at("group_size").get<std::uint64_t>());
  const std::int64_t n = entry.at("n_out"), k = entry.at("n_in"), t = entry.at("tokens");
  const std::int64_t group = entry.at("group_size");
  Drawn d;
  d.options.grid = quant::Grid::signed_symmetric(entry.at("num_bits"));
  d.options.granularity =
      group == 0 ? quant::Granularity::parse("channel") : quant::Granularity::parse(concat("group:", group));
  d.options.downcast = quant::Downcast::float32;
  d.options.rank = entry.at("rank");
  d.options.lora_alpha = 2.0 * entry.at("rank").get<double>();
  d.options.scale.type = quant::ScaleType::float32;
  d.a = at::randn({n, d.options.rank}) * 0.2;
  d.b = at::randn({d.options.rank, k}) * 0.2;
  d.scale = at::rand(d.options.granularity.scale_shape(n, k)) * 0.1 + 0.01;
  d.x = at::randn({t, k});
  d.dy = at::randn({t, n});
  at::Tensor z = (at::rand({n, k}) * 2.0 - 1.0) * (d.options.grid.quant_max - 0.5);
  const auto clipped = static_cast<std::int64_t>(
      std::llround(entry.at("fraction_clipped").get<double>() * static_cast<double>(z.numel())));
  at::Tensor where = at::randperm(z.numel()).slice(0, 0, clipped);
  z.view({-1}).index_put_({where}, (at::randint(0, 2, {clipped}) * 2 - 1) * 20.0);
  d.u = z - d.scaling() * at::mm(d.a, d.b);
  return d;
}

struct Gradients {
  at::Tensor a, b, scale;
};

// G = dyᵀx in float64, masked or not.
Gradients equations(const Drawn& d, const at::Tensor& codes, const at::Tensor& mask) {
  const at::Tensor g = at::mm(d.dy.t().to(at::kDouble), d.x.to(at::kDouble));
  const at::Tensor s = d.scale.to(at::kDouble).repeat_interleave(g.size(1) / d.scale.size(1), 1);
  const at::Tensor dz = g * s * mask;
  return {d.scaling() * at::mm(dz, d.b.to(at::kDouble).t()),
          d.scaling() * at::mm(d.a.to(at::kDouble).t(), dz),
          (g * codes).view({g.size(0), d.scale.size(1), -1}).sum(2)};
}

TEST(GoldenExactLowRankBackward, EveryStoredCaseDrawnAgain) {
  const GoldenFile file("exact_low_rank_backward", false);
  Comparer comparer;
  int with_clipping = 0;
  for (const Json& entry : file.cases()) {
    const Drawn d = draw(entry);
    const std::string name = concat("group size ", entry.at("group_size"), " seed ", entry.at("seed"),
                                    " clipped ", entry.at("fraction_clipped"));
    const methods::LrQatWeight weight(d.options, quant::Phi0::store(d.u, d.options.downcast, d.options.grid),
                                      quant::ScaleParameter::from_value(d.scale.clone(), d.options.scale),
                                      d.a.clone(), d.b.clone());
    const auto converted = weight.convert();
    EXPECT_NEAR(converted.clipped_fraction, entry.at("fraction_clipped").get<double>(), 1e-9) << name;
    const at::Tensor z = d.u + d.scaling() * at::mm(d.a, d.b);
    const at::Tensor mask = z.round().eq(z.round().clamp(-8, 7)).to(at::kDouble);
    const std::vector<at::Tensor> grads{at::zeros_like(d.a), at::zeros_like(d.b), at::zeros_like(d.scale)};
    const at::Tensor values = weight.make_tile(0, z.size(0), ops::ComputeType::float32).values;
    const bool low_rank =
        weight.add_low_rank_gradient({d.x, d.dy, d.dy, at::mm(d.x, values.t())}, grads, 1.0);
    EXPECT_EQ(low_rank, entry.at("group_size") == 0) << name;
    if (!low_rank) weight.add_tile_gradient(0, z.size(0), at::mm(d.dy.t(), d.x), grads);
    const Gradients expected = equations(d, converted.weight_int, mask);
    comparer.check(name, "dA", expected.a, grads[0], kFloatSum);
    comparer.check(name, "dB", expected.b, grads[1], kFloatSum);
    comparer.check(name, "ds", expected.scale, grads[2], kFloatSum);
    // Without the correction dA is wrong by what the file reports: a tenth of its size and more.
    const Gradients uncorrected = equations(d, converted.weight_int, at::ones_like(mask));
    const double size = expected.a.abs().max().item<double>();
    const double error = difference(uncorrected.a, expected.a, size);
    const double stored = entry.at("b_dA_no_correction").at("max_rel").get<double>();
    EXPECT_EQ(error > 0.02, stored > 0.02) << name << ": " << error;
    with_clipping += error > 0.02;
  }
  EXPECT_GT(with_clipping, 0);
}

}  // namespace
}  // namespace lrqat::golden
