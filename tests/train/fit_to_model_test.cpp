#include "lrqat/train/fit_to_model.h"

#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/export/exporter.h"
#include "lrqat/model/load.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/target.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"
#include "tests/train/recipe_difference.h"

namespace lrqat::train {
namespace {

namespace models = model::testing;
using quant::Granularity;
using quant::testing::expect_error;

class Messages final : public ProgressReporter {
 public:
  void start(std::string_view, std::int64_t) override {}
  void update(std::int64_t, std::string_view) override {}
  void finish() override {}
  void message(std::string_view line) override { text += concat(line, "\n"); }
  std::string text;
};

// A target says of symmetric grids exactly what the exporter of its name does.
TEST(Target, AgreesWithTheExporters) {
  std::string names;
  for (const exporting::Exporter& exporter : exporting::exporters()) {
    names += exporter.name + ", ";
    const Target& target = find_target(exporter.name);
    for (const int bits : {2, 3, 4, 8}) {
      for (const std::int64_t cols : {48, 64, 96, 256, 512}) {
        for (const char* name :
             {"tensor", "channel", "group:16", "group:32", "group:64", "group:128", "group:256"}) {
          const Granularity granularity = Granularity::parse(name);
          if (granularity.group_size > 0 && cols % granularity.group_size != 0) continue;
          const LinearGrid linear{64, cols, quant::Grid::signed_symmetric(bits), true};
          const auto integers = models::random_integers(64, cols, bits, name, 1);
          EXPECT_EQ(target.obstacle(linear, granularity).empty(),
                    exporting::why_inexact(exporter, integers).empty())
              << exporter.name << " W" << bits << " " << name << " " << cols;
        }
      }
    }
  }
  EXPECT_EQ(known_targets(), names + exporting::adapter_exporter().name);
  expect_error<UsageError>([] { find_target("onnx"); }, {"`for` \"onnx\"", "gguf, compressed-tensors"});
}

TEST(Target, GgufHasOneScaleABlockOfTheSmallestType) {
  const auto first = [](int bits, bool symmetric) {
    return find_target("gguf")
        .granularities({64, 512, quant::Grid::signed_symmetric(bits), symmetric})
        .front()
        .name();
  };
  EXPECT_EQ(first(4, true), "group:32");    // Q4_0
  EXPECT_EQ(first(8, true), "group:32");    // Q8_0
  EXPECT_EQ(first(3, true), "group:256");   // Q3_K, 3.4 bits a weight
  EXPECT_EQ(first(2, true), "group:64");    // Q2_0
  EXPECT_EQ(first(2, false), "group:256");  // Q2_K
}

class FitToModel : public ::testing::Test {
 protected:
  Recipe fit(Recipe recipe, std::int64_t inner = 96) {
    formats::ModelConfig config = models::small_config();
    config.intermediate_size = inner;
    const auto path = folder_.path() / concat("m", inner);
    if (!std::filesystem::exists(path)) models::write_random_model(path, config);
    messages_.text.clear();
    return fit_to_model(recipe, *model::load_float_model(path), messages_);
  }
  static std::string of(const Recipe& recipe, const std::string& linear) {
    return layer_recipe(recipe, linear)->grid_granularity().name();
  }
  static Recipe for_target(const std::string& target, int bits = 4) {
    Recipe recipe;
    recipe.target = target;
    recipe.bits = bits;
    return recipe;
  }

  const std::string q_ = "model.layers.0.self_attn.q_proj", down_ = "model.layers.1.mlp.down_proj";
  models::TemporaryFolder folder_;
  Messages messages_;
};

TEST_F(FitToModel, EachTargetHasItsGroups) {
  EXPECT_EQ(of(fit(Recipe{}), q_), "group:32");
  EXPECT_NE(messages_.text.find("granularity group:32, for gguf"), std::string::npos) << messages_.text;
  const Recipe folder = fit(for_target("compressed-tensors"));
  EXPECT_EQ(of(folder, q_), "group:64");
  EXPECT_EQ(of(folder, down_), "group:32");
  EXPECT_EQ(folder.overrides, std::vector<std::string>{"model.layers.*.mlp.down_proj granularity=group:32"});
  EXPECT_NE(
      messages_.text.find("128 does not divide in_features 96 of model.layers.*.mlp.down_proj: group:32"),
      std::string::npos)
      << messages_.text;
  const Recipe awq = fit(for_target("awq"));
  EXPECT_EQ(of(awq, q_), "group:32") << "the same for all linears";
  EXPECT_TRUE(awq.overrides.empty());
  EXPECT_EQ(of(fit(for_target("hf")), down_), "group:32");
  EXPECT_EQ(of(fit(for_target("gguf", 2)), q_), "group:64");
  EXPECT_EQ(of(fit(for_target("gguf", 2)), down_), "group:32");
}

TEST_F(FitToModel, WholeChannelsWhereTheFormatHoldsThem) {
  const Recipe folder = fit(for_target("compressed-tensors"), 80);
  EXPECT_EQ(of(folder, q_), "group:64");
  EXPECT_EQ(of(folder, down_), "channel");
  EXPECT_EQ(of(fit(for_target("awq"), 80), q_), "channel");
  EXPECT_EQ(of(fit(for_target("hf"), 80), down_), "group:16");
}

TEST_F(FitToModel, RefusesBeforeTrainingWhatTheFormatDoesNotHold) {
  expect_error<Error>([&] { fit(Recipe{}, 80); }, {"`for` gguf", "model.layers.*.mlp.down_proj", "80", "32",
                                                   "compressed-tensors", "skip"});
  expect_error<Error>([&] { fit(for_target("gptq"), 80); }, {"`for` gptq", "must be multiples of 32"});
  expect_error<Error>([&] { fit(for_target("awq", 3)); }, {"`for` awq", "3-bit codes", "4 bits"});
  Recipe mixed = for_target("gptq");
  mixed.overrides = {"*.down_proj bits=8"};
  expect_error<Error>([&] { fit(mixed); }, {"`for` gptq", "down_proj", "differ in bits"});
  Recipe skipped;
  skipped.overrides = {"*.down_proj skip"};
  EXPECT_EQ(of(fit(skipped, 80), q_), "group:32");
}

TEST_F(FitToModel, WhatIsNamedStays) {
  Recipe recipe;
  recipe.sequence_length = recipe.eval_context = 64;
  recipe.init = "range";
  recipe.distill_weight = 0.0;
  recipe.granularity = Granularity::parse("group:16");
  EXPECT_EQ(recipe_difference(fit(recipe), recipe), "");
  EXPECT_NE(messages_.text.find("warning: gguf will not hold"), std::string::npos) << messages_.text;
  recipe.granularity = Granularity::parse("channel");
  EXPECT_EQ(recipe_difference(fit(recipe), recipe), "");
  EXPECT_EQ(messages_.text, "");
  Recipe one = Recipe{};
  one.overrides = {"*.down_proj granularity=channel", "*.0.mlp.up_proj skip", "*.k_proj bits=2"};
  const Recipe fitted = fit(one);
  EXPECT_EQ(of(fitted, down_), "channel");
  EXPECT_EQ(of(fitted, q_), "group:32");
  EXPECT_EQ(of(fitted, "model.layers.0.self_attn.k_proj"), "group:64") << "of the 2-bit blocks";
  EXPECT_FALSE(layer_recipe(fitted, "model.layers.0.mlp.up_proj").has_value()) << "is not taken back";
}

TEST_F(FitToModel, ReadsBackAsItIs) {
  Recipe recipe;
  recipe_field("granularity").parse(recipe, {"auto"});
  EXPECT_EQ(recipe_field("granularity").print(recipe), std::vector<std::string>{"auto"});
  recipe_field("for").parse(recipe, {"awq"});
  EXPECT_EQ(recipe_field("for").print(recipe), std::vector<std::string>{"awq"});
}

}  // namespace
}  // namespace lrqat::train
