#include "lrqat/kernels/learned_rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "lrqat/base/random.h"

namespace lrqat::kernels {
namespace {

// Weights on a grid of 3 bits, some of them beyond its ends, with scales of both signs.
struct Fixture {
  Fixture(std::int64_t cols, std::int64_t groups, bool shifted)
      : cols(cols), groups(groups), weight(size()), gradient(size()), rounding(size()) {
    Random random(7);
    const auto normal = [&] { return static_cast<float>(random.uniform() + random.uniform() - 1.0); };
    for (std::int64_t i = 0; i < kRows * groups; ++i) {
      scale.push_back(random.below(2) == 0 ? 0.2F : -0.17F);
      if (shifted) zero_point.push_back(static_cast<float>(random.below(5)) - 2.0F);
    }
    for (float& w : weight) w = normal();
    for (float& g : gradient) g = random.below(8) == 0 ? 0.0F : normal();
    for (auto& v : rounding) v = static_cast<std::int16_t>(static_cast<int>(random.below(32769)) - 16384);
  }
  std::size_t size() const { return static_cast<std::size_t>(kRows * cols); }
  LearnedRounding view() {
    return {weight.data(), rounding.data(), scale.data(), zero_point.empty() ? nullptr : zero_point.data(),
            cols,          groups,          -4.0F,        3.0F};
  }

  static constexpr std::int64_t kRows = 5;
  std::int64_t cols, groups;
  std::vector<float> weight, gradient, scale, zero_point;
  std::vector<std::int16_t> rounding;
};

template <typename Test>
void for_each_fixture(const Test& test) {
  for (const bool shifted : {false, true}) {
    for (const auto& [cols, groups] : {std::pair{64, 1}, {64, 2}, {60, 3}, {7, 1}, {34, 2}}) {
      SCOPED_TRACE(::testing::Message()
                   << cols << " columns in " << groups << " groups, shifted " << shifted);
      test(Fixture(cols, groups, shifted));
    }
  }
}

TEST(LearnedRounding, RoundsAsTheReference) {
  for_each_fixture([](Fixture f) {
    std::vector<std::int8_t> codes(f.size()), expected_codes(f.size());
    std::vector<float> values(f.size()), expected_values(f.size());
    std::vector<std::uint16_t> narrow(f.size()), expected_narrow(f.size());
    round_learned(f.view(), 0, Fixture::kRows, {codes.data(), values.data(), narrow.data()});
    round_learned_ref(f.view(), 0, Fixture::kRows,
                      {expected_codes.data(), expected_values.data(), expected_narrow.data()});
    EXPECT_EQ(codes, expected_codes);
    EXPECT_EQ(values, expected_values);
    EXPECT_EQ(narrow, expected_narrow);
    EXPECT_EQ(*std::min_element(codes.begin(), codes.end()), -4);
    EXPECT_EQ(*std::max_element(codes.begin(), codes.end()), 3);
  });
}

// Rows outside [begin, end) stay.
TEST(LearnedRounding, TouchesItsRowsOnly) {
  Fixture f(64, 2, false);
  std::vector<float> values(f.size(), 9.0F);
  const auto before = f.rounding;
  round_learned(f.view(), 1, 3, {nullptr, values.data(), nullptr});
  std::vector<float> sums(4);
  step_rounding(f.view(), 1, 3, f.gradient.data(), 500, sums.data(), nullptr);
  for (std::size_t i = 0; i < f.size(); ++i) {
    const bool own = i / 64 == 1 || i / 64 == 2;
    EXPECT_EQ(values[i] == 9.0F, !own) << i;
    if (!own) {
      EXPECT_EQ(f.rounding[i], before[i]) << i;
    }
  }
  EXPECT_NE(f.rounding, before);
}

TEST(LearnedRounding, StepsAsTheReference) {
  for_each_fixture([](Fixture f) {
    Fixture other = f;
    const auto sums = static_cast<std::size_t>(Fixture::kRows * f.groups);
    std::vector<float> ds(sums), dz(sums), expected_ds(sums), expected_dz(sums);
    step_rounding(f.view(), 0, Fixture::kRows, f.gradient.data(), 700, ds.data(), dz.data());
    step_rounding_ref(other.view(), 0, Fixture::kRows, f.gradient.data(), 700, expected_ds.data(),
                      expected_dz.data());
    EXPECT_EQ(f.rounding, other.rounding);
    for (std::size_t i = 0; i < sums; ++i) {
      EXPECT_NEAR(ds[i], expected_ds[i], 1e-4) << i;
      EXPECT_NEAR(dz[i], expected_dz[i], 1e-4) << i;
    }
  });
}

// By hand: inside the grid v goes against the sign of s·G, beyond it it stays, and it ends at ±1/2.
TEST(LearnedRounding, StepsAgainstTheSlopeInsideTheGrid) {
  std::vector<float> weight{0.1F, 0.1F, 0.1F, 9.0F, -0.2F}, gradient{1.0F, -1.0F, 0.0F, 1.0F, -1.0F};
  std::vector<std::int16_t> rounding{0, 0, 5, 0, 16384};
  const std::vector<float> scale{1.0F}, negative{-1.0F};
  LearnedRounding state{weight.data(), rounding.data(), scale.data(), nullptr, 5, 1, -4.0F, 3.0F};
  float ds = 0.0F, dz = 0.0F;
  step_rounding(state, 0, 1, gradient.data(), 100, &ds, &dz);
  EXPECT_EQ(rounding, (std::vector<std::int16_t>{-100, 100, 5, 0, 16384}));
  // Σ G·(q - M·W/s): -0.1 + 0.1 + 0 + 3 - 0.2, where -0.2 + 1/2 rounds to 0
  EXPECT_NEAR(ds, 2.8F, 1e-6);
  EXPECT_FLOAT_EQ(dz, -1.0F);
  state.scale = negative.data();
  step_rounding(state, 0, 1, gradient.data(), 100, &ds, &dz);
  EXPECT_EQ(rounding[0], 0) << "the slope has the scale's sign";
}

}  // namespace
}  // namespace lrqat::kernels
