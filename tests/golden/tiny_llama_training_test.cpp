// Ten training steps of a tiny Llama, end to end (tests/data/golden/README.md section 6): loaded from its
// Hugging Face folder, prepared by the recipe's method, trained by the trainer's own step and
// optimiser at the reference's rates, and compared tensor by tensor with an outsider's run.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/model/load.h"
#include "lrqat/model/prepare.h"
#include "lrqat/nn/optimizer.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/train_step.h"
#include "lrqat/train/trained_parameters.h"
#include "tests/golden/comparer.h"
#include "tests/golden/golden_data.h"

namespace lrqat::golden {
namespace {

// README section 1: an own float64 model gave 2e-7, 2e-7, 1.1e-4, 7e-7.
constexpr double kLosses = 2e-5;
constexpr double kGradNorms = 1e-4;
constexpr double kFinalParameters = 2e-3;
constexpr double kLogits = 1e-3;

train::Recipe recipe_of(const Json& entry) {
  train::Recipe recipe;
  recipe.bits = entry.at("num_bits");
  recipe.granularity = quant::Granularity::parse(entry.at("granularity").get<std::string>());
  recipe.phi = quant::parse_downcast(entry.at("phi").get<std::string>());
  recipe.range = quant::RangeEstimator::parse("minmax");
  recipe.scale_type = quant::ScaleType::float32;
  recipe.rank = entry.at("rank");
  recipe.lora_alpha = entry.at("lora_alpha").get<double>();
  recipe.steps = entry.at("steps");
  recipe.warmup = entry.at("warmup_steps").get<double>();
  recipe.lr = entry.at("lr_AB");
  recipe.scale_lr = entry.at("lr_scale");
  recipe.beta1 = entry.at("beta1");
  recipe.beta2 = entry.at("beta2");
  recipe.clip_norm = entry.at("max_grad_norm");
  return recipe;
}

class TinyLlamaTraining : public ::testing::TestWithParam<train::KeptActivations> {
 protected:
  TinyLlamaTraining()
      : file_("tiny_llama_training"),
        entry_(file_.cases().at(0)),
        recipe_(recipe_of(entry_)),
        source_(formats::open_weight_source(golden_folder() / entry_.at("model_dir").get<std::string>())),
        student_(model::load_float_model(source_)),
        tokens_(file_.tensor(entry_, "tokens").to(at::kLong)) {}

  at::Tensor logits() const {
    const at::NoGradGuard no_grad;
    return student_->logits(student_->forward(tokens_));
  }

  void prepare() {
    model::prepare(*student_, *source_, [&](const std::string& name, const at::Tensor& weight) {
      return methods::find_method("lr-qat").prepare(name, weight, train::layer_options(recipe_, name));
    });
    for (const quant::Parameter& parameter : student_->parameters()) {
      const at::NoGradGuard no_grad;
      if (parameter.name.ends_with(".lora_b")) parameter.value.copy_(stored(parameter.name, "B_init"));
      if (parameter.name.ends_with(".scale"))
        check(parameter.name, "s_init", parameter.value, kOneMultiplication);
    }
    for (const nn::Linear* linear : student_->linears()) {
      const auto buffers = linear->weight()->buffers();
      check(linear->name() + ".phi_0", "phi0", buffers.at(0).second, kExact);
    }
  }

  // The outsider's tensor `what` of the linear that `parameter` belongs to.
  at::Tensor stored(const std::string& parameter, const std::string& what) const {
    return file_.tensor(entry_, parameter.substr(0, parameter.rfind('.')) + "." + what);
  }
  void check(const std::string& parameter, const std::string& what, const at::Tensor& ours,
             double tolerance) {
    comparer_.check(parameter, what, stored(parameter, what), ours, tolerance);
  }
  void check_gradients(std::int64_t step);
  void check_final();

  GoldenFile file_;
  Json entry_;
  train::Recipe recipe_;
  model::SharedSource source_;
  std::unique_ptr<model::Decoder> student_;
  at::Tensor tokens_;
  Comparer comparer_;
};

void TinyLlamaTraining::check_gradients(std::int64_t step) {
  for (const quant::Parameter& parameter : student_->parameters()) {
    const at::Tensor& grad = parameter.value.grad();
    ASSERT_TRUE(grad.defined()) << parameter.name;
    if (step == 0 && parameter.name.ends_with(".lora_a")) check(parameter.name, "A_grad0", grad, kFloatSum);
    if (step == 0 && parameter.name.ends_with(".scale"))
      check(parameter.name, "s_grad0", grad, 5 * kFloatSum);
    if (step == 0 && parameter.name.ends_with(".lora_b")) {
      EXPECT_EQ(grad.abs().max().item<float>(), 0.0F) << "A is zero, so B has no gradient yet";
    }
    if (step == 3 && parameter.name.ends_with(".lora_b")) check(parameter.name, "B_grad3", grad, kLogits);
  }
}

void TinyLlamaTraining::check_final() {
  for (const quant::Parameter& parameter : student_->parameters()) {
    const char* what = parameter.name.ends_with(".lora_a")   ? "A_final"
                       : parameter.name.ends_with(".lora_b") ? "B_final"
                                                             : "s_final";
    check(parameter.name, what, parameter.value.detach(), kFinalParameters);
  }
  for (const nn::Linear* linear : student_->linears()) {
    check(linear->name() + ".codes", "codes_final", linear->weight()->convert().weight_int, kExact);
  }
  comparer_.check("final", "logits", file_.tensor(entry_, "final_logits"), logits(), kLogits);
}

// The parameter is what the two blocks keep of their activations: checkpointing must change nothing.
TEST_P(TinyLlamaTraining, IsReproducedTensorByTensor) {
  comparer_.check("float", "logits", file_.tensor(entry_, "float_logits"), logits(), kLogits);
  prepare();
  comparer_.check("step 0", "logits", file_.tensor(entry_, "step0_logits"), logits(), kLogits);

  const train::TrainStep step(*student_, nullptr, {.kept = GetParam()});
  // The reference's own: its warm-up begins with a step that moves nothing, ours does not
  // (schedule_test.cpp).
  const auto factors = entry_.at("lr_factors").get<std::vector<double>>();
  nn::AdamW optimizer(train::trained_parameters(recipe_, *student_),
                      {.beta1 = recipe_.beta1, .beta2 = recipe_.beta2, .clip_together = true});

  std::vector<double> losses, norms;
  const auto scored = static_cast<double>(tokens_.size(0) * (tokens_.size(1) - 1));
  for (std::int64_t i = 0; i < recipe_.steps; ++i) {
    optimizer.zero_grad();
    losses.push_back(step.loss(step.accumulate(tokens_, scored)));
    check_gradients(i);
    norms.push_back(optimizer.clip_grad_norm(recipe_.clip_norm));
    optimizer.step(factors.at(static_cast<std::size_t>(i)));
  }
  comparer_.check("training", "losses", file_.tensor(entry_, "losses"), at::tensor(losses), kLosses);
  comparer_.check("training", "grad_norms", file_.tensor(entry_, "grad_norms"), at::tensor(norms),
                  kGradNorms);
  check_final();
}

using train::KeptActivations;
INSTANTIATE_TEST_SUITE_P(Kept, TinyLlamaTraining,
                         ::testing::Values(KeptActivations{0, 0}, KeptActivations{1, 0},
                                           KeptActivations{2, 0}, KeptActivations{0, 1},
                                           KeptActivations{0, 2}, KeptActivations{1, 1}),
                         [](const auto& info) {
                           return std::to_string(info.param.blocks) + "Blocks" +
                                  std::to_string(info.param.products) + "Products";
                         });

}  // namespace
}  // namespace lrqat::golden
