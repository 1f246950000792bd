// Tokens that are not scored (prompts of instruction data) have no part in loss and gradients.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/base/ignore_index.h"
#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/model/load.h"
#include "lrqat/model/prepare.h"
#include "lrqat/train/train_step.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::train {
namespace {

constexpr double kDivisor = 8.0;

class MaskedTargets : public ::testing::Test {
 protected:
  MaskedTargets() {
    const auto path =
        model::testing::write_random_model(folder_.path() / "m", model::testing::small_config());
    const model::SharedSource source(formats::open_weight_source(path));
    student_ = model::load_float_model(source);
    model::prepare(*student_, *source, [](const std::string& name, const at::Tensor& weight) {
      methods::LrQatOptions options;
      options.rank = 4;
      options.lora_alpha = 4.0;
      return methods::LrQatWeight::prepare(name, weight, options, {}, 1);
    });
    at::manual_seed(3);
    for (const auto& parameter : student_->parameters()) {
      if (parameter.name.ends_with("lora_a"))
        parameter.value.set_data(at::randn_like(parameter.value.detach()));
    }
    tokens_ = at::randint(80, {2, 9}, at::kLong);
  }

  // All gradients, concatenated, of the loss on the predictions of positions where `scored` is true.
  at::Tensor gradients(const at::Tensor& scored, nn::LossSums* sums = nullptr) const {
    for (const auto& parameter : student_->parameters()) parameter.value.mutable_grad() = at::Tensor();
    const at::Tensor targets = tokens_.masked_fill(~scored, kIgnoreIndex);
    const nn::LossSums found = TrainStep(*student_, nullptr, {}).accumulate(tokens_, targets, kDivisor);
    if (sums != nullptr) *sums = found;
    std::vector<at::Tensor> all;
    for (const auto& parameter : student_->parameters()) all.push_back(parameter.value.grad().flatten());
    return at::cat(all);
  }

  at::Tensor answers() const {  // the last four tokens of the first sequence, the last two of the second
    at::Tensor scored = at::zeros({2, 9}, at::kBool);
    scored[0].slice(0, 5).fill_(true);
    scored[1].slice(0, 7).fill_(true);
    return scored;
  }

  model::testing::TemporaryFolder folder_;
  std::unique_ptr<model::Decoder> student_;
  at::Tensor tokens_;
};

TEST_F(MaskedTargets, PromptsGiveNoGradient) {
  const at::Tensor none = gradients(at::zeros({2, 9}, at::kBool));
  EXPECT_EQ(none.abs().max().item<double>(), 0.0);
  EXPECT_GT(gradients(answers()).abs().max().item<double>(), 1e-4) << "negative control";
}

// What stands at a prompt position as a target does not matter; the gradient of everything is the sum of
// both.
TEST_F(MaskedTargets, GradientsAreThoseOfTheAnswersAlone) {
  nn::LossSums of_answers, of_prompts, of_all;
  const at::Tensor a = gradients(answers(), &of_answers), p = gradients(~answers(), &of_prompts);
  const at::Tensor all = gradients(at::ones({2, 9}, at::kBool), &of_all);
  EXPECT_EQ(of_answers.tokens, 6);
  EXPECT_EQ(of_all.tokens, 16);
  EXPECT_EQ(of_prompts.tokens, 10);
  EXPECT_NEAR(of_answers.cross_entropy + of_prompts.cross_entropy, of_all.cross_entropy, 1e-4);
  EXPECT_LT((a + p - all).abs().max().item<double>(), 1e-5 * all.abs().max().item<double>() + 1e-6);
  EXPECT_GT((a - all).abs().max().item<double>(), 1e-3 * all.abs().max().item<double>())
      << "negative control";
}

TEST_F(MaskedTargets, NothingScoredIsALossOfZero) {
  nn::LossSums sums;
  gradients(at::zeros({2, 9}, at::kBool), &sums);
  EXPECT_EQ(TrainStep(*student_, nullptr, {}).loss(sums), 0.0);
}

}  // namespace
}  // namespace lrqat::train
