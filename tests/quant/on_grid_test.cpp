// Stored integers on another grid: the same values or a refusal.
#include "lrqat/quant/on_grid.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/quant/integer_weight.h"

namespace lrqat::quant {
namespace {

QuantizedWeight grouped_weight(int num_bits, std::int64_t group) {
  at::manual_seed(4);
  const int half = 1 << (num_bits - 1);
  return {{num_bits, -half, half - 1},
          {Granularity::Kind::group, group},
          at::randint(-half, half, {6, 64}, at::kChar),
          at::rand({6, 64 / group}) + 0.5,
          0.25};
}

at::Tensor values(const QuantizedWeight& weight) { return values_of(IntegerWeight("w", weight)); }

std::optional<QuantizedWeight> moved(const QuantizedWeight& weight, int num_bits, const char* granularity,
                                     bool symmetric, std::string* why = nullptr) {
  std::string obstacle;
  auto result =
      on_grid(weight, Grid::signed_symmetric(num_bits), Granularity::parse(granularity), symmetric, obstacle);
  EXPECT_EQ(result.has_value(), obstacle.empty());
  if (why != nullptr) *why = obstacle;
  if (result) {
    EXPECT_TRUE(at::equal(values(*result), values(weight)));
  }
  return result;
}

TEST(OnGrid, TheSameGridIsTheSame) {
  const QuantizedWeight weight = grouped_weight(4, 16);
  const auto same = moved(weight, 4, "group:16", true);
  ASSERT_TRUE(same);
  EXPECT_TRUE(at::equal(same->weight_int, weight.weight_int));
  EXPECT_TRUE(at::equal(same->scale, weight.scale));
  EXPECT_FALSE(same->zero_point.defined());
  EXPECT_EQ(same->clipped_fraction, 0.25);
}

TEST(OnGrid, FinerGroupsRepeatTheScale) {
  const auto finer = moved(grouped_weight(4, 32), 8, "group:16", true);
  ASSERT_TRUE(finer);
  EXPECT_EQ(finer->scale.size(1), 4);
}

// A channel-wise model that went through blocks of 32 comes back as it was.
TEST(OnGrid, EqualScalesBecomeOne) {
  QuantizedWeight weight = grouped_weight(3, 16);
  weight.scale = weight.scale.select(1, 0).unsqueeze(1).repeat({1, 4}).contiguous();
  EXPECT_TRUE(moved(weight, 3, "channel", true));
  std::string why;
  EXPECT_FALSE(moved(weight, 3, "tensor", true, &why));
  EXPECT_NE(why.find("scales differ"), std::string::npos) << why;
  weight.weight_int.slice(1, 16, 32).zero_();
  weight.scale.select(1, 1).zero_();  // groups of zeros have no say
  EXPECT_TRUE(moved(weight, 3, "channel", true));
}

TEST(OnGrid, ZeroPointsStayOrAreFound) {
  QuantizedWeight weight = grouped_weight(4, 16);
  weight.zero_point = at::randint(-3, 3, {6, 4}, at::kChar);
  std::string why;
  EXPECT_FALSE(moved(weight, 4, "group:16", true, &why));
  EXPECT_NE(why.find("around zero"), std::string::npos) << why;
  const auto same = moved(weight, 4, "group:16", false);
  ASSERT_TRUE(same);
  EXPECT_TRUE(at::equal(same->weight_int, weight.weight_int));
  EXPECT_TRUE(at::equal(same->zero_point, weight.zero_point));
  // Wider codes without a zero point, as Q5_0 has them: the narrow grid is found again.
  QuantizedWeight wide = weight;
  wide.grid = {5, -16, 15};
  wide.weight_int = weight.weight_int - weight.zero_point.repeat_interleave(16, 1);
  wide.zero_point = at::Tensor();
  EXPECT_TRUE(moved(wide, 4, "group:16", false));
  EXPECT_FALSE(moved(wide, 3, "group:16", false));
}

TEST(OnGrid, SaysWhatItCannotDo) {
  QuantizedWeight weight = grouped_weight(4, 16);
  std::string why;
  EXPECT_FALSE(moved(weight, 3, "group:16", true, &why));
  EXPECT_NE(why.find("do not fit 3 bits"), std::string::npos) << why;
  EXPECT_FALSE(moved(weight, 4, "group:48", true, &why));
  weight.offset = at::rand({6, 4});
  EXPECT_FALSE(moved(weight, 4, "group:16", true, &why));
  EXPECT_NE(why.find("float offset"), std::string::npos) << why;
  weight.offset = at::Tensor();
  weight.scale[2][1] = INFINITY;
  EXPECT_FALSE(moved(weight, 4, "group:16", true, &why));
  EXPECT_NE(why.find("not finite"), std::string::npos) << why;
}

// As block-wise starts leave them.
TEST(OnGrid, NegativeScalesStay) {
  QuantizedWeight weight = grouped_weight(4, 16);
  weight.scale[2][1] = -0.5F;
  weight.scale.select(0, 3).fill_(-0.25F);
  const auto same = moved(weight, 4, "group:16", true);
  ASSERT_TRUE(same);
  EXPECT_TRUE(at::equal(same->scale, weight.scale));
  EXPECT_TRUE(at::equal(same->weight_int, weight.weight_int));
  const auto finer = moved(weight, 4, "group:8", true);
  ASSERT_TRUE(finer);
  EXPECT_EQ(finer->scale[3][5].item<float>(), -0.25F);
  std::string why;
  EXPECT_FALSE(moved(weight, 4, "channel", true, &why));
  weight.scale.fill_(-0.5F);
  const auto one = moved(weight, 4, "channel", true);
  ASSERT_TRUE(one);
  EXPECT_TRUE(one->scale.eq(-0.5F).all().item<bool>());
}

}  // namespace
}  // namespace lrqat::quant
