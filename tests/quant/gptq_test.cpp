// GPTQ against the algorithm written down naively in double precision (errors spread by the whole inverse
// Hessian, which loses a row and a column at each step), and what it is for: outputs nearer to the float
// ones.
#include "lrqat/quant/gptq.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <tuple>

#include "lrqat/base/error.h"
#include "lrqat/methods/l4q_weight.h"
#include "lrqat/methods/lr_qat_start.h"
#include "lrqat/methods/lsq_weight.h"
#include "lrqat/quant/integer_weight.h"
#include "tests/quant/drawn_weight.h"
#include "tests/quant/expect_error.h"

namespace lrqat::quant {
namespace {

// Inputs as layers have them: correlated, of unlike sizes. [T, K]
at::Tensor draw_inputs(std::int64_t tokens, std::int64_t in_features) {
  const at::Tensor mixing = at::randn({in_features, in_features}) / std::sqrt(double(in_features));
  const at::Tensor size = at::exp(at::randn({in_features}));
  return at::mm(at::randn({tokens, in_features}), mixing + 0.5 * at::eye(in_features)) * size;
}

at::Tensor hessian_of(const at::Tensor& x) { return 2.0 * at::mm(x.t(), x); }

struct Case {
  int num_bits;
  const char* granularity;
  bool symmetric;
  bool act_order;
};

QuantSpec options_of(const Case& c) {
  return {Grid::signed_symmetric(c.num_bits), Granularity::parse(c.granularity), {}, c.symmetric};
}

QuantizedWeight round_plainly(const at::Tensor& weight, const QuantSpec& options) {
  return round_to_nearest("plain", weight, options, RangeEstimator::parse("lp:3.5"));
}

at::Tensor per_weight(const at::Tensor& per_scale, std::int64_t rows, std::int64_t cols) {
  return per_scale.to(at::kDouble).repeat_interleave(cols / per_scale.size(1), 1).expand({rows, cols});
}

at::Tensor values_of(const QuantizedWeight& w) {
  const auto rows = w.weight_int.size(0), cols = w.weight_int.size(1);
  at::Tensor codes = w.weight_int.to(at::kDouble);
  if (w.zero_point.defined()) codes = codes - per_weight(w.zero_point, rows, cols);
  const at::Tensor values = codes * per_weight(w.scale, rows, cols);
  return w.offset.defined() ? values + per_weight(w.offset, rows, cols) : values;
}

struct Naive {
  at::Tensor codes;      // double [N, K]
  at::Tensor tie_space;  // how near a row came to a tie, [N]
};

// Optimal brain quantization in a given order of columns (GPTQ's equations 2 and 3), nothing blocked, nothing
// factored.
Naive naive_gptq(const at::Tensor& weight, const at::Tensor& hessian, const QuantizedWeight& grid,
                 double damping, bool act_order) {
  const auto rows = weight.size(0), cols = weight.size(1);
  at::Tensor h = hessian.to(at::kDouble).clone();
  const at::Tensor order =
      act_order ? at::argsort(h.diagonal(), true, -1, true) : at::arange(cols, at::kLong);
  h.diagonal().add_(damping * h.diagonal().mean());
  at::Tensor inverse = at::linalg_inv(h);
  at::Tensor w = weight.to(at::kDouble).clone();
  const at::Tensor scale = per_weight(grid.scale, rows, cols);
  const at::Tensor zero =
      grid.zero_point.defined() ? per_weight(grid.zero_point, rows, cols) : at::zeros_like(scale);
  Naive out{at::zeros_like(w), at::full({rows}, 1.0, at::kDouble)};
  for (std::int64_t i = 0; i < cols; ++i) {
    const auto j = order[i].item<std::int64_t>();
    const at::Tensor u = w.select(1, j) / scale.select(1, j) + zero.select(1, j);
    const at::Tensor q = u.round().clamp(grid.grid.quant_min, grid.grid.quant_max);
    out.codes.select(1, j).copy_(q);
    out.tie_space = at::minimum(out.tie_space, (u - u.floor() - 0.5).abs());
    const at::Tensor error = w.select(1, j) - scale.select(1, j) * (q - zero.select(1, j));
    w.sub_(at::outer(error, inverse.select(0, j)) / inverse[j][j]);
    inverse.sub_(at::outer(inverse.select(1, j), inverse.select(0, j)) / inverse[j][j].clone());
  }
  return out;
}

constexpr Case kCases[] = {{4, "channel", true, false},   {4, "channel", true, true},
                           {3, "group:32", true, true},   {2, "channel", false, true},
                           {3, "group:64", false, false}, {4, "tensor", true, true}};

TEST(Gptq, MakesTheCodesOfTheNaiveAlgorithm) {
  for (const Case& c : kCases) {
    at::manual_seed(7);
    const at::Tensor weight = at::randn({48, 320}) * 0.05, hessian = hessian_of(draw_inputs(900, 320));
    const QuantSpec options = options_of(c);
    const auto found = gptq("layer", weight, GptqFactor::from_hessian(hessian.clone(), 0.01, c.act_order),
                            options, RangeEstimator::parse("lp:3.5"));
    const QuantizedWeight plain = round_plainly(weight, options);
    const Naive naive = naive_gptq(weight, hessian, plain, 0.01, c.act_order);
    EXPECT_TRUE(at::equal(found.rounded.scale, plain.scale)) << "the grid is that of rounding to nearest";
    if (!c.symmetric) {
      EXPECT_TRUE(at::equal(found.rounded.zero_point, plain.zero_point));
    }
    // float32 errors of about 1e-6 of a step decide only rows that come so near to a tie.
    const at::Tensor differs = found.rounded.weight_int.to(at::kDouble).ne(naive.codes).any(1);
    EXPECT_FALSE(differs.logical_and(naive.tie_space.gt(2e-5)).any().item<bool>()) << c.granularity;
    EXPECT_LT(naive.tie_space.le(2e-5).sum().item<int>(), 24) << "most rows were compared";
    EXPECT_TRUE(plain.weight_int.to(at::kDouble).ne(naive.codes).any(1).all().item<bool>())
        << "negative control";
  }
}

// Several blocks of the factor's own, and of columns that one product updates; made in the Hessian's memory.
TEST(Gptq, FactorIsTheInverseRoot) {
  at::manual_seed(9);
  const std::int64_t size = 1400;
  at::Tensor hessian = hessian_of(draw_inputs(2000, size));
  const at::Tensor exact = hessian.to(at::kDouble);
  for (const bool act_order : {true, false}) {
    at::Tensor damped = exact.clone();
    damped.diagonal().add_(0.01 * damped.diagonal().mean());
    const at::Tensor used = hessian.clone();
    const GptqFactor factor = GptqFactor::from_hessian(used, 0.01, act_order);
    EXPECT_EQ(factor.upper.data_ptr(), used.data_ptr()) << "no second matrix of this size";
    EXPECT_TRUE(at::equal(factor.upper, factor.upper.triu()));
    const at::Tensor h = damped.index_select(0, factor.order).index_select(1, factor.order);
    const at::Tensor lower = at::linalg_cholesky(h.flip({0, 1}));
    const at::Tensor root = at::linalg_inv(lower).flip({0, 1});
    const double error = ((factor.upper.to(at::kDouble) - root).norm() / root.norm()).item<double>();
    EXPECT_LT(error, 1e-4);
    RecordProperty(act_order ? "ordered" : "plain", std::to_string(error));
  }
}

TEST(Gptq, OutputsAreNearerThanOfRoundingToNearest) {
  for (const Case& c : kCases) {
    at::manual_seed(11);
    const at::Tensor weight = at::randn({64, 256}) * 0.05, x = draw_inputs(1024, 256);
    const QuantSpec options = options_of(c);
    const auto found = gptq("layer", weight, GptqFactor::from_hessian(hessian_of(x), 0.01, c.act_order),
                            options, RangeEstimator::parse("lp:3.5"));
    const auto error = [&](const QuantizedWeight& rounded) {
      return at::mm(x.to(at::kDouble), (weight.to(at::kDouble) - values_of(rounded)).t())
          .norm()
          .item<double>();
    };
    EXPECT_LT(error(found.rounded), 0.8 * error(round_plainly(weight, options)))
        << c.granularity << c.num_bits;
  }
}

TEST(Gptq, InputsThatAreNotCorrelatedGiveRoundingToNearest) {
  for (const bool act_order : {false, true}) {
    at::manual_seed(13);
    const at::Tensor weight = at::randn({16, 192}) * 0.05;
    at::Tensor diagonal = at::rand({192}) + 0.1;
    diagonal.slice(0, 5, 9).zero_();  // inputs that are always zero
    const QuantSpec options = options_of({3, "group:64", true, act_order});
    const auto found = gptq("layer", weight, GptqFactor::from_hessian(at::diag(diagonal), 0.01, act_order),
                            options, RangeEstimator::parse("lp:3.5"));
    const QuantizedWeight plain = round_plainly(weight, options);
    EXPECT_TRUE(at::equal(found.rounded.weight_int, plain.weight_int));
    EXPECT_EQ(found.rounded.clipped_fraction, plain.clipped_fraction);
  }
}

// Before the first step the model in training is the GPTQ model, whatever φ keeps of the weights.
TEST(Gptq, LrQatStartsOnItsCodes) {
  for (const bool symmetric : {true, false}) {
    for (const Downcast downcast : testing::kDowncasts) {
      at::manual_seed(17);
      const at::Tensor weight = at::randn({32, 256}) * 0.05, x = draw_inputs(512, 256);
      methods::LrQatOptions lr_qat = testing::options_of(4, "group:64", downcast);
      const QuantSpec options{lr_qat.grid, lr_qat.granularity, lr_qat.scale, symmetric};
      const auto start = gptq("layer", weight, GptqFactor::from_hessian(hessian_of(x), 0.01, true), options,
                              RangeEstimator::parse("lp:3.5"));
      const QuantizedWeight converted = methods::start_lr_qat("layer", start, lr_qat, 3)->convert();
      EXPECT_TRUE(at::equal(converted.weight_int, start.rounded.weight_int)) << downcast_name(downcast);
      EXPECT_TRUE(at::equal(converted.scale, start.rounded.scale));
      EXPECT_EQ(converted.zero_point.defined(), !symmetric);
      if (!symmetric) {
        EXPECT_TRUE(at::equal(converted.zero_point, start.rounded.zero_point));
      }
    }
  }
}

// Methods that keep a float weight start from one that rounds to GPTQ's codes, and lies where GPTQ's
// compensation left it wherever its type allows that.
TEST(Gptq, MethodsWithAFloatWeightStartOnItsCodes) {
  for (const bool symmetric : {true, false}) {
    at::manual_seed(18);
    const at::Tensor weight = at::randn({32, 256}) * 0.05, x = draw_inputs(512, 256);
    const QuantSpec options = options_of({3, "group:64", symmetric, true});
    const auto start = gptq("layer", weight, GptqFactor::from_hessian(hessian_of(x), 0.01, true), options,
                            RangeEstimator::parse("lp:3.5"));
    const auto range = QuantRange::of(start.rounded.scale, start.rounded.zero_point, options.grid);
    const at::Tensor exact = float_values(start, at::kFloat);
    for (const auto storage : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const at::Tensor from = float_values(start, storage);
      methods::L4qOptions l4q;
      l4q.grid = options.grid;
      l4q.granularity = options.granularity;
      l4q.storage = storage;
      l4q.learn_offset = l4q.asymmetric_start = !symmetric;
      const QuantizedWeight converted = methods::L4qWeight::prepare("layer", from, l4q, range, 3)->convert();
      EXPECT_TRUE(at::allclose(values_of(converted), values_of(start.rounded), 1e-5, 1e-7)) << storage;
      EXPECT_EQ(at::equal(from, exact), storage == at::kFloat);  // ties of the 16-bit types are moved
      EXPECT_LT(from.ne(exact).sum().item<std::int64_t>(), from.numel() / 20);
    }
    methods::LsqOptions lsq{options.grid, options.granularity, {}, symmetric};
    const QuantizedWeight converted = methods::LsqWeight::prepare("layer", exact, lsq, range)->convert();
    EXPECT_TRUE(at::equal(converted.weight_int, start.rounded.weight_int));
    EXPECT_TRUE(at::equal(converted.scale, start.rounded.scale));
    if (!symmetric) {
      EXPECT_TRUE(at::equal(converted.zero_point, start.rounded.zero_point));
    }
  }
}

TEST(Gptq, RefusesWhatIsNotFinite) {
  at::Tensor hessian = at::eye(8);
  hessian[3][4] = INFINITY;
  testing::expect_error<lrqat::Error>([&] { GptqFactor::from_hessian(hessian, 0.01, false); },
                                      {"calibration", "not finite"});
}

}  // namespace
}  // namespace lrqat::quant
