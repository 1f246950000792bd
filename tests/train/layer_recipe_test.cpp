#include "lrqat/train/layer_recipe.h"

#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/train/methods.h"
#include "tests/quant/expect_error.h"
#include "tests/train/recipe_difference.h"

namespace lrqat::train {
namespace {

using quant::testing::expect_error;

TEST(LayerRecipe, Patterns) {
  const std::string name = "model.layers.10.mlp.down_proj";
  for (const char* pattern : {"*", "model.layers.10.mlp.down_proj", "*.down_proj", "model.layers.*",
                              "*layers.10.*", "model.layers.1?.*", "*.1*.m*p.*_proj", "**.down_proj*"}) {
    EXPECT_TRUE(matches_pattern(pattern, name)) << pattern;
  }
  for (const char* pattern : {"", "down_proj", "*.up_proj", "model.layers.1.*", "model.layers.?.*",
                              "*.down_pro", "?model*", "*.down_proj?"}) {
    EXPECT_FALSE(matches_pattern(pattern, name)) << pattern;
  }
  EXPECT_TRUE(matches_pattern("", ""));
  EXPECT_TRUE(matches_pattern("*", ""));
  EXPECT_FALSE(matches_pattern("?", ""));
}

TEST(LayerRecipe, LaterOverridesWin) {
  Recipe recipe;
  recipe.granularity = quant::Granularity::parse("channel");
  recipe.overrides = {"* bits=3 rank=8", "*.down_proj bits=8 granularity=group:32", "*.k_proj skip",
                      "*.layers.0.* range=minmax", "model.layers.0.k_proj phi=float16"};
  const auto up = layer_recipe(recipe, "model.layers.1.up_proj");
  ASSERT_TRUE(up.has_value());
  EXPECT_EQ(up->bits, 3);
  EXPECT_EQ(up->rank, 8);
  EXPECT_EQ(up->granularity->name(), "channel");
  const auto down = layer_recipe(recipe, "model.layers.0.down_proj");
  ASSERT_TRUE(down.has_value());
  EXPECT_EQ(down->bits, 8);
  EXPECT_EQ(down->granularity->name(), "group:32");
  EXPECT_EQ(down->range.name(), "minmax");
  EXPECT_FALSE(layer_recipe(recipe, "model.layers.1.k_proj").has_value());
  const auto first = layer_recipe(recipe, "model.layers.0.k_proj");  // named again after it was skipped
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->phi, quant::Downcast::float16);
}

TEST(LayerRecipe, RefusesWhatIsNoOverride) {
  const auto check = [](const char* text) { return [=] { check_override(text); }; };
  expect_error<UsageError>(check(""), {"PATTERN key=value"});
  expect_error<UsageError>(check("*.q_proj"), {"*.q_proj", "PATTERN skip"});
  expect_error<UsageError>(check("bits=4"), {"bits=4", "PATTERN key=value"});
  expect_error<UsageError>(check("* bits=4 skip"), {"PATTERN skip"});
  expect_error<UsageError>(check("* loud"), {"\"loud\"", "key=value"});
  expect_error<UsageError>(check("* bits=5"), {"* bits=5", "2, 3, 4 or 8"});
  expect_error<UsageError>(check("* lr=1"), {"\"lr\"", "bits, granularity"});
  expect_error<UsageError>(check("* overrides=x"), {"\"overrides\""});
  EXPECT_NO_THROW(check_override("*.q_proj bits=2 symmetric=false init=svd"));
  Recipe recipe;
  recipe.overrides = {"*.q_proj bits=2", "*.x_proj skip"};
  expect_error<UsageError>(
      [&] {
        check_overrides_match(recipe, {"a.q_proj", "b.q_proj"});
      },
      {"*.x_proj", "matches no linear", "a.q_proj"});
}

// A recipe file holds overrides as it holds every other field.
TEST(LayerRecipe, FieldReadsBack) {
  Recipe recipe;
  recipe_field("overrides").parse(recipe, {"*.q_proj bits=2", "lm* skip"});
  EXPECT_EQ(recipe_field("overrides").print(recipe), recipe.overrides);
  EXPECT_EQ(recipe.overrides.size(), 2U);
  expect_error<UsageError>([&] { recipe_field("overrides").parse(recipe, {"* bits=9"}); }, {"* bits=9"});
}

TEST(Methods, DefaultsAreTheMethodsOwn) {
  EXPECT_EQ(method_defaults("l4q").lr, 2e-3);
  EXPECT_EQ(method_defaults("l4q").beta2, 0.999);
  EXPECT_EQ(method_defaults("lsq").lr, 5e-4);
  EXPECT_EQ(method_defaults("peqa").scale_domain, quant::ScaleDomain::log);
  EXPECT_EQ(method_defaults("lora").distill_weight, 0.0);
  EXPECT_EQ(method_defaults("qlora").compute_dtype, "float32");
  EXPECT_EQ(recipe_difference(method_defaults("lr-qat"), Recipe{}), "");
  EXPECT_NE(recipe_difference(method_defaults("l4q"), Recipe{}), "");
}

}  // namespace
}  // namespace lrqat::train
