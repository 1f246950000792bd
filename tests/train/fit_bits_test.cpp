#include "lrqat/train/fit_bits.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/export/gguf_tensors.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/load.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/train/bit_table.h"
#include "lrqat/train/fit_to_model.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/sensitivity.h"
#include "lrqat/train/train_step.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"

namespace lrqat::train {
namespace {

namespace models = model::testing;
using quant::testing::expect_error;

PackedDataset tokens(std::int64_t count, std::int64_t length) {
  std::vector<std::int32_t> all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(static_cast<std::int32_t>((i * i + 7 * i) % 79));
  return {all, length};
}

class FitBits : public ::testing::Test {
 protected:
  FitBits() {
    models::write_random_model(folder_.path() / "m", models::small_config());
    decoder_ = model::load_float_model(folder_.path() / "m");
  }

  Recipe fit(Recipe recipe) {
    recipe.method = "rtn";
    recipe.init = "range";
    recipe.compute_dtype = "float32";
    fit_windows(recipe, decoder_->config());
    fit_bits(recipe, *decoder_, tokens(640, 32), silent_);
    return fit_to_model(recipe, *decoder_, silent_);
  }
  static Recipe with(double target_bpw, const std::string& target = "gguf") {
    Recipe recipe;
    recipe.target_bpw = target_bpw;
    recipe.target = target;
    return recipe;
  }
  BitTable table(const Recipe& recipe) const {
    return bit_table(find_target(recipe.target), layers_of(recipe, *decoder_));
  }
  int bits(const Recipe& recipe, const std::string& linear) const {
    return layer_recipe(recipe, "model.layers." + linear)->bits;
  }

  models::TemporaryFolder folder_;
  std::unique_ptr<model::Decoder> decoder_;
  SilentProgress silent_;
};

// A text with a single prediction has one token with a gradient, whose outer product is the gradient itself:
// its square must be what small changes of single weights do to the loss.
TEST_F(FitBits, SensitivityIsTheSquareOfTheGradient) {
  const PackedDataset text = tokens(2, 2);
  decoder_->set_compute(ops::ComputeType::float32);
  const auto found = measure_sensitivity(*decoder_, text, 2, 0, silent_);
  EXPECT_EQ(found.size(), decoder_->linears().size());
  const auto loss = [&] { return TrainStep(*decoder_, nullptr, {}).measure(text, silent_).cross_entropy; };
  int checked = 0;
  for (nn::Linear* linear : decoder_->linears()) {
    const auto weight = linear->weight();
    const at::Tensor values =
        weight->make_tile(0, weight->out_features(), ops::ComputeType::float32).to_float().clone();
    const Sensitivity& own = found.at(linear->name());
    const at::Tensor expected = at::outer(own.output, own.input);
    const std::int64_t most = expected.argmax().item<std::int64_t>();
    if (expected.max().item<double>() < 1e-6) continue;  // q and k of a single position move nothing
    const double step = 1e-2;
    double moved[2];
    for (const int side : {0, 1}) {
      at::Tensor changed = values.clone();
      changed.view({-1})[most] += side == 0 ? -step : step;
      linear->set_weight(std::make_shared<quant::FloatWeight>(changed));
      moved[side] = loss();
    }
    linear->set_weight(weight);
    const double gradient = (moved[1] - moved[0]) / (2 * step);
    EXPECT_NEAR(gradient * gradient, expected.max().item<double>(), 0.05 * gradient * gradient)
        << linear->name();
    ++checked;
  }
  EXPECT_GE(checked, 8);
}

TEST_F(FitBits, StaysWithinTheBudgetAndUsesIt) {
  double before = 1e30;
  for (const double target : {2.8, 3.1, 3.5, 4.5, 6.0, 8.5}) {
    const Recipe recipe = fit(with(target));
    const double used = table(recipe).bits_per_weight();
    EXPECT_LE(used, target);
    EXPECT_GT(used, target - 0.25);
    // What errors are expected to cost falls with the budget.
    double cost = 0;
    decoder_->set_compute(ops::ComputeType::float32);
    const auto found = measure_sensitivity(*decoder_, tokens(640, 32), 640, 0, silent_);
    for (const Layer& layer : layers_of(recipe, *decoder_))
      cost += rounding_cost(found.at(layer.linear->name()), *layer.linear, layer.own.spec(), layer.own.range);
    EXPECT_LT(cost, before);
    before = cost;
  }
}

// The size that is promised is that of the tensors that the exporter writes.
TEST_F(FitBits, CountsWhatTheFileHolds) {
  const Recipe recipe = fit(with(3.5));
  const auto source = model::open_source(folder_.path() / "m");
  prepare_student(recipe, *decoder_, *source, nullptr, silent_);
  std::int64_t bytes = 0;
  std::set<formats::GgmlType> types;
  for (const exporting::ExportTensor& tensor : exporting::gguf_tensors(*decoder_, {})) {
    if (!tensor.codes) continue;
    types.insert(tensor.type);
    bytes +=
        tensor.shape[0] * static_cast<std::int64_t>(formats::ggml_row_bytes(tensor.type, tensor.shape[1]));
  }
  EXPECT_EQ(8 * bytes, table(recipe).stored_bits());
  EXPECT_TRUE(types.contains(formats::GgmlType::Q2_0) && types.contains(formats::GgmlType::Q4_0));
}

TEST_F(FitBits, TheFittedRecipeStaysAsItIs) {
  const Recipe first = fit(with(3.5));
  EXPECT_EQ(print_recipe(first), print_recipe(fit(with(3.5)))) << "the same every time";
  EXPECT_EQ(print_recipe(first), print_recipe(fit(first)));
  Recipe other_text = first;
  other_text.seed = 77;
  EXPECT_EQ(fit(other_text).overrides, first.overrides);
  Recipe less = first;
  less.target_bpw = 2.5;
  expect_error<UsageError>([&] { fit(less); }, {"`target-bpw` 2.5", "overrides"});
}

TEST_F(FitBits, WhatIsSaidOfSingleLinearsHolds) {
  Recipe recipe = with(4.5);
  recipe.overrides = {"*.o_proj bits=8", "*.layers.1.mlp.up_proj skip", "*.q_proj granularity=channel"};
  const Recipe fitted = fit(recipe);
  EXPECT_EQ(bits(fitted, "0.self_attn.o_proj"), 8);
  EXPECT_EQ(bits(fitted, "1.self_attn.o_proj"), 8);
  EXPECT_FALSE(layer_recipe(fitted, "model.layers.1.mlp.up_proj"));
  EXPECT_EQ(layer_recipe(fitted, "model.layers.0.self_attn.q_proj")->granularity->name(), "channel");
  EXPECT_LE(table(fitted).bits_per_weight(), 4.5);
  std::int64_t counted = 0;
  for (const BitRow& row : table(fitted).rows) counted += row.linears;
  EXPECT_EQ(counted, 13);
}

TEST_F(FitBits, WhatProgramsFuseHasOneWidth) {
  const Recipe folder = fit(with(3.5, "compressed-tensors"));
  for (const std::string layer : {"0.", "1."}) {
    EXPECT_EQ(bits(folder, layer + "self_attn.q_proj"), bits(folder, layer + "self_attn.k_proj"));
    EXPECT_EQ(bits(folder, layer + "self_attn.q_proj"), bits(folder, layer + "self_attn.v_proj"));
    EXPECT_EQ(bits(folder, layer + "mlp.gate_proj"), bits(folder, layer + "mlp.up_proj"));
  }
  EXPECT_GT(table(folder).rows.size(), 1U);
  const Recipe awq = fit(with(5.0, "awq"));  // one width for all, and only 4 bits
  ASSERT_EQ(table(awq).rows.size(), 1U);
  EXPECT_EQ(table(awq).rows.front().bits, 4);
  const Recipe gptq = fit(with(3.9, "gptq"));
  ASSERT_EQ(table(gptq).rows.size(), 1U);
  EXPECT_EQ(table(gptq).rows.front().bits, 3);
  expect_error<UsageError>([&] { fit(with(3.5, "awq")); },
                           {"`target-bpw` 3.5", "bits a weight or more for awq"});
  expect_error<UsageError>([&] { fit(with(2.0)); }, {"`target-bpw` 2", "for gguf"});
}

}  // namespace
}  // namespace lrqat::train
