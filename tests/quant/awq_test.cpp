#include "lrqat/quant/awq.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::quant {
namespace {

at::Tensor round3(const at::Tensor& weight) {
  const QuantSpec spec{Grid::signed_symmetric(3), Granularity::parse("group:32")};
  return values_of(IntegerWeight("layer", round_to_nearest("layer", weight, spec)));
}

InputStatistics statistics_of(const at::Tensor& x) { return {2.0 * at::mm(x.t(), x), x.abs().mean(0)}; }

double output_error(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scales) {
  return at::mm(x, (round3(weight * scales) / scales - weight).t()).norm().item<double>();
}

// A few channels with large activations, as language models have them.
TEST(Awq, ChannelsWithLargeInputsAreRoundedMoreFinely) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({48, 128}) * 0.05, other = at::randn({16, 128}) * 0.05;
  at::Tensor x = at::randn({512, 128});
  x.slice(1, 0, 128, 19).mul_(30.0);
  const at::Tensor scales = search_channel_scales({weight, other}, statistics_of(x), {round3, round3});
  const at::Tensor ones = at::ones({128});
  EXPECT_LT(output_error(x, weight, scales), 0.6 * output_error(x, weight, ones));
  EXPECT_GT(scales[0].item<float>(), 2.0F * scales[1].item<float>());
  EXPECT_NEAR((scales.max() * scales.min()).item<float>(), 1.0F, 1e-4F);
}

TEST(Awq, InputsThatAreAlikeChangeNothing) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({48, 128}) * 0.05;
  InputStatistics alike = statistics_of(at::randn({512, 128}));
  alike.mean_abs = at::full({128}, 0.7);
  const at::Tensor scales = search_channel_scales({weight}, alike, {round3});
  EXPECT_LT((scales - 1.0).abs().max().item<float>(), 1e-6F);
}

}  // namespace
}  // namespace lrqat::quant
