// The block-wise start: what is learned brings a block nearer to the float one, the gradients of ranges are
// those of autograd, and every method begins with exactly the integers and scales that were learned.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "lrqat/quant/rounding_weight.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/prepare_student.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"
#include "tests/start/random_text.h"

namespace lrqat::start {
namespace {

namespace testing = model::testing;
using train::Recipe;

quant::QuantSpec spec_of(int bits, const std::string& granularity, bool symmetric) {
  return {quant::Grid::signed_symmetric(bits), quant::Granularity::parse(granularity), {}, symmetric};
}

std::shared_ptr<quant::RoundingWeight> make(const at::Tensor& weight, const quant::QuantSpec& spec) {
  return std::make_shared<quant::RoundingWeight>("layer", weight, spec, ops::ComputeType::float32);
}

at::Tensor values_of(const quant::QuantizedWeight& weight) {
  const at::Tensor codes = quant::grouped(weight.weight_int.to(at::kFloat), weight.scale);
  const at::Tensor zero =
      weight.zero_point.defined() ? quant::rows_of(weight.zero_point) : at::zeros({1, 1, 1});
  return ((codes - zero) * quant::rows_of(weight.scale)).reshape(weight.weight_int.sizes());
}

// Squared error of each group's rounding, at a share of the full range.
at::Tensor group_errors(const at::Tensor& groups, bool symmetric, double share) {
  const at::Tensor low = groups.amin(2, true).clamp_max(0.0), high = groups.amax(2, true).clamp_min(0.0);
  at::Tensor scale =
      symmetric ? share * at::where(high.gt(-low), high / -4, low / -4) : share * (high - low) / 7;
  scale = scale.to(at::kHalf).to(at::kFloat);
  const at::Tensor zero = symmetric ? at::zeros_like(scale) : (-share * low / scale).round() - 4;
  return (((groups / scale).round() + zero).clamp(-4, 3).sub(zero) * scale - groups).square().sum(2);
}

TEST(RoundingWeight, BeginsWhereRoundingErrsLeastOnASignedGrid) {
  at::manual_seed(1);
  const at::Tensor weight = at::randn({6, 64});
  const at::Tensor groups = weight.view({6, 2, 32});
  for (const bool symmetric : {true, false}) {
    const auto rounded = make(weight, spec_of(3, "group:32", symmetric))->rounded().rounded;
    at::Tensor least = group_errors(groups, symmetric, 1.0);
    for (int share = 19; share >= 8; --share)
      least = at::minimum(least, group_errors(groups, symmetric, share / 20.0));
    const at::Tensor errors = (values_of(rounded) - weight).view({6, 2, 32}).square().sum(2);
    EXPECT_TRUE(at::allclose(errors, least, 1e-4)) << errors << least;
    EXPECT_LT(least.sum().item<float>(), 0.95F * group_errors(groups, symmetric, 1.0).sum().item<float>());
    EXPECT_TRUE(at::equal(rounded.scale, rounded.scale.to(at::kHalf).to(at::kFloat)));
    if (!symmetric) continue;
    // The larger side is -4 steps away from zero.
    EXPECT_TRUE(at::equal(rounded.scale.lt(0), groups.amax(2).gt(-groups.amin(2))));
    EXPECT_TRUE(rounded.weight_int.view({6, 2, 32}).eq(-4).any(2).all().item<bool>())
        << "the extreme has the extra code";
  }
  // All-negative groups use the grid's one side.
  const auto one_sided = make(-weight.abs(), spec_of(3, "group:32", false))->rounded().rounded;
  EXPECT_TRUE(one_sided.zero_point.eq(3).all().item<bool>());
}

// gradient = dL/dŴ: that of a linear whose tokens are its rows, each of which goes to one output.
void add_gradient(const quant::RoundingWeight& weight, const at::Tensor& gradient,
                  std::vector<at::Tensor>& grads) {
  const at::Tensor grad_output = at::eye(gradient.size(0));
  EXPECT_TRUE(weight.add_gradient_from_activations(
      {.x = gradient, .grad_output = grad_output, .operand = grad_output}, grads));
}

TEST(RoundingWeight, ConvertsToWhatItComputesWith) {
  at::manual_seed(2);
  for (const bool symmetric : {true, false}) {
    for (const std::string granularity : {"tensor", "channel", "group:16"}) {
      const auto weight = make(at::randn({8, 48}), spec_of(4, granularity, symmetric));
      weight->set_rates({0.1, 0.1});
      for (int step = 0; step < 3; ++step) {
        const at::Tensor x = at::randn({5, 48});
        std::vector<at::Tensor> grads;
        for (const auto& parameter : weight->parameters()) {
          at::Tensor value = parameter.value;
          value.mutable_grad() = at::zeros_like(value);
          grads.push_back(value.mutable_grad());
        }
        add_gradient(*weight, at::randn({8, 48}), grads);
        weight->step();
      }
      const auto result = weight->rounded();
      EXPECT_TRUE(
          at::equal(values_of(result.rounded), weight->make_tile(0, 8, ops::ComputeType::float32).values))
          << granularity << " symmetric " << symmetric;
      const at::Tensor again = result.unrounded.round().clamp(-8, 7);
      EXPECT_LE((again - result.rounded.weight_int).ne(0).sum().item<int>(), 1) << "ties";
    }
  }
}

// Straight through every rounding, with autograd.
TEST(RoundingWeight, GradientsOfRangesAreAutograds) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({4, 32}), gradient = at::randn({4, 32});
  for (const bool symmetric : {true, false}) {
    quant::QuantSpec spec = spec_of(2, "group:16", symmetric);
    spec.scale.type = quant::ScaleType::float32;
    const auto learned = make(weight, spec);
    // Ranges below the extremes, so that some weights are clipped.
    for (const auto& parameter : learned->parameters()) parameter.value.detach().fill_(0.6);
    learned->step();
    std::vector<at::Tensor> grads, factors;
    for (const auto& parameter : learned->parameters()) {
      grads.push_back(at::zeros_like(parameter.value));
      factors.push_back(at::full_like(parameter.value.detach(), 0.6).set_requires_grad(true));
    }
    add_gradient(*learned, gradient, grads);

    const auto round = [](const at::Tensor& x) { return x + (x.round() - x).detach(); };
    const at::Tensor groups = weight.view({4, 2, 16});
    const at::Tensor low = groups.amin(2, true).clamp_max(0.0), high = groups.amax(2, true).clamp_min(0.0);
    at::Tensor scale, zero = at::zeros({1});
    if (symmetric) {
      scale = factors[0].unsqueeze(2) * at::where(high.gt(-low), high / -2, low / -2);
    } else {
      scale = (factors[1].unsqueeze(2) * high - factors[0].unsqueeze(2) * low) / 3;
      zero = round(-factors[0].unsqueeze(2) * low / scale) - 2;
    }
    const at::Tensor values = ((round(groups / scale) + zero).clamp(-2, 1) - zero) * scale;
    torch::autograd::backward({(values * gradient.view({4, 2, 16})).sum()}, {});
    for (std::size_t i = 0; i < grads.size(); ++i) {
      EXPECT_GT(grads[i].abs().min().item<float>(), 0.0F);
      EXPECT_TRUE(at::allclose(grads[i], factors[i].grad(), 1e-4, 1e-4)) << symmetric << " " << i << "\n"
                                                                         << grads[i] << factors[i].grad();
    }
  }
}

class BlockwiseStart : public ::testing::Test {
 protected:
  void SetUp() override {
    source_ = model::SharedSource(formats::open_weight_source(
        testing::write_random_model(folder_.path() / "m", testing::small_config())));
    text_ = random_text(1024);
  }
  static Recipe recipe(const std::string& method, const std::string& init) {
    Recipe recipe;
    recipe.method = method;
    recipe.init = init;
    recipe.bits = 3;
    recipe.granularity = quant::Granularity::parse("group:32");
    recipe.calibration_tokens = 1024;
    recipe.sequence_length = 16;
    recipe.block_steps = 60;
    recipe.block_batch_size = 8;
    return recipe;
  }
  std::unique_ptr<model::Decoder> prepared(const Recipe& recipe) const {
    auto student = model::load_float_model(source_);
    SilentProgress silent;
    train::prepare_student(recipe, *student, *source_, &*text_, silent);
    return student;
  }
  // Mean squared difference of the last block's output, on tokens that were not calibrated on.
  double error(const model::Decoder& decoder) const {
    const auto reference = model::load_float_model(source_);
    at::manual_seed(9);
    const at::Tensor tokens = at::randint(80, {16, 16}, at::kLong);
    const at::NoGradGuard no_grad;
    return at::mse_loss(decoder.forward(tokens), reference->forward(tokens)).item<double>();
  }

  testing::TemporaryFolder folder_;
  model::SharedSource source_;
  std::optional<train::PackedDataset> text_;
};

TEST_F(BlockwiseStart, ComesNearerToTheFloatModelThanRounding) {
  for (const bool symmetric : {true, false}) {
    Recipe plain = recipe("rtn", "range"), learned = recipe("rtn", "blockwise");
    plain.symmetric = learned.symmetric = symmetric;
    Recipe unlearned = learned;
    unlearned.block_lr = unlearned.block_range_lr = 0.0;
    const double start = error(*prepared(unlearned)), end = error(*prepared(learned));
    EXPECT_LT(end, 0.9 * start) << "symmetric " << symmetric;
    EXPECT_LT(end, 0.85 * error(*prepared(plain))) << "symmetric " << symmetric;
  }
}

TEST_F(BlockwiseStart, IsTheSameEveryTime) {
  const auto first = prepared(recipe("rtn", "blockwise")), second = prepared(recipe("rtn", "blockwise"));
  Recipe other = recipe("rtn", "blockwise");
  other.seed = 1;
  const auto third = prepared(other);
  bool differs = false;
  for (const nn::Linear* linear : first->linears()) {
    const auto codes = [&](model::Decoder& decoder) {
      return decoder.find_linear(linear->name())->weight()->convert().weight_int;
    };
    EXPECT_TRUE(at::equal(codes(*first), codes(*second))) << linear->name();
    differs |= !at::equal(codes(*first), codes(*third));
  }
  EXPECT_TRUE(differs) << "negative control: another seed";
}

// Codes and scales, of either sign, are those that rounding alone keeps.
TEST_F(BlockwiseStart, EveryMethodBeginsWithTheLearnedIntegers) {
  const auto expected = prepared(recipe("rtn", "blockwise"));
  bool negative = false;
  for (const methods::Method* method : methods::all_methods()) {
    if (!takes(*method, "blockwise")) continue;
    SCOPED_TRACE(method->name);
    const auto student = prepared(recipe(method->name, "blockwise"));
    for (const nn::Linear* linear : expected->linears()) {
      const auto& own = student->find_linear(linear->name())->weight();
      const quant::QuantizedWeight want = linear->weight()->convert();
      negative |= want.scale.lt(0).any().item<bool>();
      if (const auto adapters = own->float_adapters()) {
        EXPECT_TRUE(at::equal(adapters->base->convert().scale, want.scale)) << linear->name();
        continue;
      }
      const quant::QuantizedWeight found = own->convert();
      EXPECT_TRUE(at::equal(found.scale, want.scale)) << linear->name();
      EXPECT_TRUE(at::equal(found.weight_int, want.weight_int)) << linear->name();
    }
  }
  EXPECT_TRUE(negative);
}

// Linears with other starts are prepared first, those that are skipped stay float.
TEST_F(BlockwiseStart, OthersInTheBlockStartTheirOwnWay) {
  Recipe mixed = recipe("rtn", "blockwise");
  mixed.overrides = {"*.down_proj bits=8 init=range", "*.o_proj init=gptq", "*.v_proj skip"};
  const auto student = prepared(mixed);
  for (const nn::Linear* linear : student->linears()) {
    const bool is_float = linear->name().ends_with("v_proj");
    EXPECT_EQ(linear->weight()->is_quantized(), !is_float) << linear->name();
    if (is_float) continue;
    const quant::QuantizedWeight weight = linear->weight()->convert();
    EXPECT_EQ(weight.grid.num_bits, linear->name().ends_with("down_proj") ? 8 : 3) << linear->name();
    EXPECT_EQ(weight.scale.lt(0).any().item<bool>(),
              !linear->name().ends_with("down_proj") && !linear->name().ends_with("o_proj"))
        << linear->name();
  }
  EXPECT_LT(error(*student), 0.75 * error(*prepared(recipe("rtn", "range"))));
}

TEST_F(BlockwiseStart, FloatMethodsRefuseIt) {
  quant::testing::expect_error<UsageError>([&] { prepared(recipe("lora", "blockwise")); },
                                           {"`init` blockwise", "lora"});
}

}  // namespace
}  // namespace lrqat::start
