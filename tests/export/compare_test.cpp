// Two models with the same NaN are the same: the comparison is of what is stored.
#include "lrqat/export/compare.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::exporting {
namespace {

TEST(CompareModels, NumbersThatAreNotFiniteAreEqualToThemselves) {
  const at::NoGradGuard no_grad;
  const model::testing::TemporaryFolder folder;
  const auto path =
      model::testing::write_random_model(folder.path() / "model", model::testing::small_config());
  const model::OpenedModel one = model::open_model(path), other = model::open_model(path);
  SilentProgress progress;
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    one.decoder->norm().weight[3] = value;
    const Comparison differs = compare_models(*one.decoder, *other.decoder, progress);
    ASSERT_EQ(differs.differing.size(), 1U);
    EXPECT_EQ(differs.differing[0].elements, 1);
    EXPECT_EQ(differs.largest_difference, std::numeric_limits<double>::infinity());
    other.decoder->norm().weight[3] = value;
    EXPECT_TRUE(compare_models(*one.decoder, *other.decoder, progress).differing.empty());
    other.decoder->norm().weight[3] = 1.0F;
  }
}

}  // namespace
}  // namespace lrqat::exporting
