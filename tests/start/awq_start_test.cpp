// AWQ's start as training makes it: the rescaled model computes what the float one does, up to rounding to 8
// bits, in families whose norms differ.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/train/prepare_student.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/start/random_text.h"

namespace lrqat::train {
namespace {

namespace models = model::testing;

Recipe awq_recipe() {
  Recipe recipe;
  recipe.method = "rtn";
  recipe.init = "awq";
  recipe.bits = 8;
  recipe.granularity = quant::Granularity::parse("group:32");
  recipe.calibration_tokens = 64;
  return recipe;
}

void expect_like_float(const formats::ModelConfig& config) {
  const models::TemporaryFolder folder;
  const model::SharedSource source(
      formats::open_weight_source(models::write_random_model(folder.path() / "m", config)));
  const auto reference = model::load_float_model(source), student = model::load_float_model(source);
  const auto text = start::random_text(128);
  SilentProgress silent;
  prepare_student(awq_recipe(), *student, *source, &text, silent);
  const std::vector<std::int64_t> rows{0, 3};
  const auto logits = [&](const model::Decoder& decoder) {
    return decoder.logits(decoder.forward(text.batch(rows)));
  };
  const at::Tensor expected = logits(*reference);
  const double size = expected.abs().max().item<double>();
  // Weights are rounded by at most 1/254 of a group's largest; sums of 64 and more average that out.
  const double difference = models::max_difference(logits(*student), expected);
  EXPECT_LT(difference, 0.05 * size);
  EXPECT_EQ(student->replaced().size(), 4U) << "two norms of each layer";
  for (const auto& [name, value] : student->replaced()) {
    EXPECT_GT(models::max_difference(value, reference->float_tensor(name)), 1e-3) << name;
    student->replace(name, reference->float_tensor(name));
  }
  EXPECT_GT(models::max_difference(logits(*student), expected), 3 * difference) << "negative control";
}

TEST(AwqStart, LlamaIsLikeFloat) { expect_like_float(models::small_config()); }

TEST(AwqStart, GemmaIsLikeFloat) {
  expect_like_float(models::gemma_config(2));
  expect_like_float(models::gemma_config(3));
}

}  // namespace
}  // namespace lrqat::train
