#include "lrqat/quant/scale_parameter.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"
#include "lrqat/base/random.h"
#include "tests/quant/expect_error.h"

namespace lrqat::quant {
namespace {

using testing::expect_error;

at::Tensor column(const std::vector<float>& values) {
  return at::tensor(values).view({static_cast<std::int64_t>(values.size()), 1});
}

// Values over the whole range, subnormal halves and ties between two neighbours among them.
std::vector<float> many_scales() {
  Random random(3);
  std::vector<float> values{1.0F,       0x1p-24F,   0x1.8p-24F, 0x1.4p-24F, 65504.0F,
                            0x1.001p0F, 0x1.003p0F, 0x1.01p0F,  0x1.03p0F};
  for (int i = 0; i < 2000; ++i)
    values.push_back(static_cast<float>(std::exp2(-24.0 + 39.0 * random.uniform())));
  return values;
}

TEST(ScaleParameter, SnapsToTheExportsType) {
  const auto values = many_scales();
  for (const ScaleType type : {ScaleType::float16, ScaleType::bfloat16, ScaleType::float32}) {
    const at::Tensor snapped = ScaleParameter(column(values), {.type = type}).effective();
    for (std::size_t i = 0; i < values.size(); ++i) {
      float expected = values[i];
      if (type == ScaleType::float16) expected = float16_to_float(float_to_float16(expected));
      if (type == ScaleType::bfloat16) expected = bfloat16_to_float(float_to_bfloat16(expected));
      EXPECT_EQ(snapped[static_cast<std::int64_t>(i)].item<float>(), expected) << values[i];
    }
  }
}

// The parameter itself is not rounded, so that small steps of the optimiser add up.
TEST(ScaleParameter, KeepsTheUnroundedParameter) {
  const ScaleParameter scale(column({0.1F}), {.type = ScaleType::float16});
  EXPECT_EQ(scale.value().item<float>(), 0.1F);
  EXPECT_NE(scale.effective().item<float>(), 0.1F);
}

TEST(ScaleParameter, GradientGoesStraightThroughTheSnap) {
  for (const ScaleType type : {ScaleType::float16, ScaleType::bfloat16, ScaleType::float32}) {
    const at::Tensor ds = column({2.0F, -3.0F});
    at::Tensor grad = at::ones({2, 1});
    ScaleParameter(column({0.1F, 0.3F}), {.type = type}).add_gradient(ds, 0, grad);
    EXPECT_TRUE(at::equal(grad, ds + 1.0));  // added, not written
    grad = at::zeros({2, 1});
    ScaleParameter(column({0.1F, 0.3F}), {.domain = ScaleDomain::log, .type = type})
        .add_gradient(ds, 0, grad);
    EXPECT_TRUE(at::allclose(grad, ds * column({0.1F, 0.3F})));
  }
}

TEST(ScaleParameter, GradientOfSomeRows) {
  at::Tensor grad = at::zeros({3, 2});
  const ScaleParameter scale(at::full({3, 2}, 0.5F), {});
  scale.add_gradient(at::ones({1, 2}), 2, grad);
  EXPECT_TRUE(at::equal(grad, at::tensor({0.0F, 0.0F, 0.0F, 0.0F, 1.0F, 1.0F}).view({3, 2})));
}

TEST(ScaleParameter, FloorHoldsTheScaleAndStopsItsGradient) {
  for (const auto& [type, floor] : {std::pair{ScaleType::float32, 1e-8F}, {ScaleType::float16, 0x1p-24F}}) {
    const ScaleParameter scale = ScaleParameter::from_value(column({1e-9F, -0.5F, 0.5F}), {.type = type});
    const at::Tensor s = scale.effective();
    EXPECT_EQ(s[0].item<float>(), floor);
    EXPECT_EQ(s[1].item<float>(), floor);
    at::Tensor grad = at::zeros({3, 1});
    scale.add_gradient(at::ones({3, 1}), 0, grad);
    EXPECT_TRUE(at::equal(grad, column({0.0F, 0.0F, 1.0F})));
  }
  // Log domain: no floor, except that float16 must not become zero.
  const at::Tensor tiny = column({1e-12F});
  EXPECT_NEAR(ScaleParameter(tiny, {.domain = ScaleDomain::log, .type = ScaleType::float32})
                  .effective()
                  .item<float>(),
              1e-12, 1e-17);
  EXPECT_EQ(ScaleParameter(tiny, {.domain = ScaleDomain::log, .type = ScaleType::float16})
                .effective()
                .item<float>(),
            0x1p-24F);
}

TEST(ScaleParameter, RefusesWhatFloat16CannotHold) {
  expect_error<Error>(
      [] {
        ScaleParameter(column({1.0F, 70000.0F}), {});
      },
      {"70000", "`scale-type` bfloat16"});
  EXPECT_NO_THROW(ScaleParameter(column({70000.0F}), {.type = ScaleType::bfloat16}));
}

// Training may drive the parameter beyond it; convert names what is not finite.
TEST(ScaleParameter, TrainedBeyondFloat16StaysFinite) {
  const auto largest = [](const at::Tensor& value, ScaleDomain domain) {
    return ScaleParameter::from_value(value, {.domain = domain, .type = ScaleType::float16}).effective();
  };
  const at::Tensor expected = column({65504.0F, 65504.0F, 0.5F});
  EXPECT_TRUE(at::equal(largest(column({1e6F, 3e38F, 0.5F}), ScaleDomain::linear), expected));
  EXPECT_TRUE(at::equal(largest(column({20.0F, 88.0F, std::log(0.5F)}), ScaleDomain::log), expected));
}

// What a tile takes, without those of all other rows.
TEST(ScaleParameter, SomeRowsAreThoseOfTheWhole) {
  for (const ScaleDomain domain : {ScaleDomain::linear, ScaleDomain::log}) {
    const ScaleParameter scale(at::rand({5, 4}) + 0.01F, {.domain = domain, .type = ScaleType::float16});
    EXPECT_TRUE(at::equal(scale.effective(1, 4), scale.effective().slice(0, 1, 4)));
  }
}

TEST(ScaleParameter, NamesRoundTrip) {
  for (const char* name : {"float16", "bfloat16", "float32"})
    EXPECT_EQ(scale_type_name(parse_scale_type(name)), name);
  for (const char* name : {"linear", "log"}) EXPECT_EQ(scale_domain_name(parse_scale_domain(name)), name);
  expect_error<UsageError>([] { parse_scale_type("int8"); },
                           {"`scale-type`", "float16, bfloat16 or float32"});
  expect_error<UsageError>([] { parse_scale_domain("exp"); }, {"`scale-domain`", "linear or log"});
}

// A step of a log scale moves the largest code of 8 bits as far as that of 4 bits.
TEST(ScaleParameter, WideGridsTakeSmallerStepsInTheLogDomain) {
  const ScaleParameter in_log(column({1.0F}), {.domain = ScaleDomain::log});
  const ScaleParameter linear(column({1.0F}), {.domain = ScaleDomain::linear});
  const auto rate = [](const ScaleParameter& scale, int num_bits) {
    return scale.parameter(Grid::signed_symmetric(num_bits)).rate;
  };
  for (const int num_bits : {2, 3, 4}) EXPECT_EQ(rate(in_log, num_bits), 1.0);
  EXPECT_DOUBLE_EQ(rate(in_log, 8) * 128, rate(in_log, 4) * 8);
  EXPECT_EQ(rate(linear, 8), 1.0);
}

TEST(ScaleParameter, LearnsOnlyWhenAsked) {
  EXPECT_TRUE(ScaleParameter(column({1.0F}), {}).value().requires_grad());
  EXPECT_FALSE(ScaleParameter(column({1.0F}), {.learn = false}).value().requires_grad());
}

// A true division: with 1 / s multiplied instead, some quotients end in another bit.
TEST(DivideByScale, IsATrueDivision) {
  at::manual_seed(1);
  const at::Tensor weight = at::randn({13, 48}), scale = at::rand({13, 6}) + 0.01;
  const at::Tensor u = divide_by_scale(weight, scale);
  int other = 0;
  for (std::int64_t n = 0; n < 13; ++n) {
    for (std::int64_t k = 0; k < 48; ++k) {
      const float w = weight[n][k].item<float>(), s = scale[n][k / 8].item<float>();
      ASSERT_EQ(u[n][k].item<float>(), w / s);
      other += w * (1.0F / s) != w / s;
    }
  }
  EXPECT_GT(other, 0) << "negative control";
  EXPECT_TRUE(at::equal(divide_rows_by_scale(weight, scale, 5, 9), u.slice(0, 5, 9)));
  const at::Tensor one = at::full({1, 1}, 0.3F);
  EXPECT_TRUE(at::equal(divide_rows_by_scale(weight, one, 5, 9), (weight / 0.3F).slice(0, 5, 9)));
}

}  // namespace
}  // namespace lrqat::quant
