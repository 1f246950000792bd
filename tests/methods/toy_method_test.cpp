// A method from outside, added through the public interface alone: Ŵ = g ⊙ W0 with one trained factor a row.
// It trains on a tiny model, is refused a start that it does not take, and is restored from what it saved. N
// out_features, K in_features.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/methods/method.h"
#include "lrqat/model/load.h"
#include "lrqat/start/inits.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/train_step.h"
#include "lrqat/train/trained_parameters.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"

namespace lrqat::methods {
namespace {

class RowGain final : public quant::WeightParametrization {
 public:
  RowGain(at::Tensor weight, at::Tensor gain) : weight_(std::move(weight)), gain_(std::move(gain)) {
    gain_.set_requires_grad(true);
  }
  std::int64_t out_features() const override { return weight_.size(0); }
  std::int64_t in_features() const override { return weight_.size(1); }
  at::Device device() const override { return weight_.device(); }
  quant::WeightTile make_tile(std::int64_t begin, std::int64_t end, ops::ComputeType compute) const override {
    const at::Tensor values = weight_.slice(0, begin, end) * gain_.detach().slice(0, begin, end);
    return {compute == ops::ComputeType::bfloat16 ? values.to(at::kBFloat16) : values, {}};
  }
  std::vector<quant::Parameter> parameters() const override {
    return {{"gain", gain_, quant::ParameterKind::scale}};
  }
  std::vector<std::pair<std::string, at::Tensor>> buffers() const override { return {{"weight", weight_}}; }
  void add_tile_gradient(std::int64_t begin, std::int64_t end, const at::Tensor& grad_weight,
                         at::TensorList grads) const override {
    grads[0].slice(0, begin, end).add_((grad_weight * weight_.slice(0, begin, end)).sum(1, /*keepdim=*/true));
  }
  std::int64_t resident_bytes() const override {
    return static_cast<std::int64_t>(weight_.nbytes() + gain_.nbytes());
  }

 private:
  at::Tensor weight_;  // float32 [N, K]
  at::Tensor gain_;    // float32 [N, 1]
};

Method row_gain(const std::string& name) {
  return {.name = name,
          .has_grid = false,
          .trains_scales = true,
          .defaults = {.scale_lr = 0.05, .distill_weight = 0.0, .compute = ops::ComputeType::float32},
          .prepare = [](const std::string&, const at::Tensor& weight, const LayerOptions&) -> WeightPtr {
            return std::make_shared<RowGain>(weight.clone(), at::ones({weight.size(0), 1}));
          },
          .restore = [](const SavedLayer& saved, const LayerOptions&) -> WeightPtr {
            return std::make_shared<RowGain>(saved.at("weight"), saved.at("gain"));
          }};
}

class ToyMethod : public ::testing::Test {
 protected:
  ToyMethod()
      : source_(formats::open_weight_source(
            model::testing::write_random_model(folder_.path() / "m", model::testing::small_config()))),
        student_(model::load_float_model(source_)) {
    static const bool once = (add_method(row_gain("row-gain")), true);
    static_cast<void>(once);
    recipe_ = train::method_defaults("row-gain");
    recipe_.granularity = quant::Granularity{};
    at::manual_seed(3);
    tokens_ = at::randint(80, {2, 17}, at::kLong);
  }

  void prepare() {
    SilentProgress silent;
    start::start_linears({find_method("row-gain"), train::plan_of(recipe_)}, *student_, *source_, silent);
  }
  at::Tensor logits() const {
    const at::NoGradGuard no_grad;
    return student_->logits(student_->forward(tokens_));
  }

  model::testing::TemporaryFolder folder_;
  model::SharedSource source_;
  std::unique_ptr<model::Decoder> student_;
  train::Recipe recipe_;
  at::Tensor tokens_;
};

TEST_F(ToyMethod, StartsAsTheModelAndTrains) {
  const at::Tensor before = logits();
  prepare();
  EXPECT_TRUE(at::allclose(logits(), before, 1e-5, 1e-5)) << "a gain of one, float32";
  const train::TrainStep step(*student_, nullptr, {});
  nn::AdamW optimizer(train::trained_parameters(recipe_, *student_), {});
  ASSERT_EQ(optimizer.parameters().size(), student_->linears().size());
  EXPECT_EQ(optimizer.parameters().front().lr, 0.05) << "the row's default";
  std::vector<double> losses;
  for (int i = 0; i < 12; ++i) {
    optimizer.zero_grad();
    losses.push_back(step.loss(step.accumulate(tokens_, 32.0)));
    optimizer.step(1.0);
  }
  EXPECT_LT(losses.back(), losses.front() - 0.1);
}

TEST_F(ToyMethod, IsRestoredFromWhatItSaves) {
  prepare();
  nn::Linear* linear = student_->linears().front();
  const at::NoGradGuard no_grad;
  linear->weight()->parameters().front().value.mul_(1.25);
  const at::Tensor trained = logits();
  SavedLayer saved{linear->name(), linear->in_features(), {}};
  for (const auto& [name, buffer] : linear->weight()->buffers()) saved.tensors[name] = buffer.clone();
  for (const auto& parameter : linear->weight()->parameters())
    saved.tensors[parameter.name] = parameter.value.detach().clone();
  prepare();
  EXPECT_FALSE(at::equal(logits(), trained)) << "negative control";
  linear->set_weight(train::restore_layer(find_method("row-gain"), recipe_, saved));
  EXPECT_TRUE(at::equal(logits(), trained));
  saved.tensors.erase("gain");
  quant::testing::expect_error<Error>([&] { train::restore_layer(find_method("row-gain"), recipe_, saved); },
                                      {linear->name(), "gain"});
}

TEST_F(ToyMethod, IsNamedAmongTheOthersAndRefusedWhereItHasNoSuchThing) {
  EXPECT_TRUE(known_methods().ends_with("rtn, row-gain"));
  for (const char* init : {"gptq", "svd", "stored"}) {
    quant::testing::expect_error<UsageError>([&] { start::check_init(find_method("row-gain"), init); },
                                             {init, "row-gain"});
  }
  EXPECT_NO_THROW(start::check_init(find_method("row-gain"), "range"));
  quant::testing::expect_error<UsageError>([&] { find_method("row-gian"); }, {"row-gian", "row-gain"});
  quant::testing::expect_error<UsageError>([&] { add_method(row_gain("lsq")); }, {"lsq"});
  Method incomplete = row_gain("incomplete");
  incomplete.restore = nullptr;
  quant::testing::expect_error<UsageError>([&] { add_method(incomplete); }, {"incomplete", "restore"});
}

}  // namespace
}  // namespace lrqat::methods
