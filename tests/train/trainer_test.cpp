// The trainer in memory: its stages, its state, several processes, and what it refuses.
#include "lrqat/train/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <cmath>
#include <limits>
#include <map>
#include <thread>

#include "lrqat/model/build.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/load.h"
#include "lrqat/train/fit_to_model.h"
#include "lrqat/train/prepare_student.h"
#include "tests/model/random_model.h"

namespace lrqat::train {
namespace {

constexpr std::int64_t kLength = 16;

model::SharedSource random_source() {
  at::manual_seed(5);
  const formats::ModelConfig config = model::testing::small_config();
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, shape] : formats::expected_tensors(config))
    tensors[name] = shape.size() == 1 ? at::ones(shape) : at::randn(shape) * 0.1;
  const auto provider = model::float_weights([&](const std::string& name) { return tensors.at(name); });
  return model::source_of("random", model::build_decoder(config, provider, ops::ComputeType::float32));
}

// Words that repeat, so that there is something to learn.
PackedDataset words(std::int64_t sequences, int seed) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < sequences * kLength; ++i)
    tokens.push_back(static_cast<std::int32_t>((i % 7) * 5 + (i + seed) % 3));
  return {tokens, kLength};
}

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() : source_(random_source()), text_{words(20, 0), words(3, 1), std::nullopt} {
    Recipe recipe;
    recipe.granularity = quant::Granularity::parse("group:32");
    recipe.init = "range";
    recipe.range = quant::RangeEstimator::parse("minmax");
    recipe.rank = 4;
    recipe.steps = 6;
    recipe.batch_size = 2;
    recipe.sequence_length = kLength;
    recipe.gradient_accumulation = 2;
    recipe.lr = recipe.scale_lr = 3e-3;
    recipe.distill_weight = 0.0;
    recipe_ = fit_to_model(recipe, *student(), silent_);
  }

  std::unique_ptr<model::Decoder> student() const { return model::load_float_model(source_); }

  // Ready for its first step.
  Trainer started(model::Decoder& student, Communicator& communicator) {
    Trainer trainer(recipe_, student, nullptr, text_, communicator);
    trainer.prepare(*source_, silent_);
    trainer.start();
    return trainer;
  }

  std::string refusal(const Recipe& recipe, Communicator& communicator) {
    const auto student = this->student();
    try {
      const Trainer trainer(recipe, *student, nullptr, text_, communicator);
      return "accepted";
    } catch (const Error& error) {
      return error.what();
    }
  }

  static void expect_same(const model::Decoder& a, const model::Decoder& b, double tolerance) {
    const auto of_a = a.parameters(), of_b = b.parameters();
    ASSERT_EQ(of_a.size(), of_b.size());
    for (std::size_t i = 0; i < of_a.size(); ++i)
      EXPECT_TRUE(at::allclose(of_a[i].value, of_b[i].value, 0.0, tolerance)) << of_a[i].name;
  }

  SilentProgress silent_;
  SingleProcess alone_;
  model::SharedSource source_;
  DataSplit text_;
  Recipe recipe_;
};

TEST_F(TrainerTest, GoesThroughItsStages) {
  const auto student = this->student();
  Trainer trainer(recipe_, *student, nullptr, text_, alone_);
  EXPECT_EQ(trainer.stage(), Stage::loaded);
  EXPECT_THROW(trainer.start(), InternalError);
  trainer.prepare(*source_, silent_);
  EXPECT_EQ(trainer.stage(), Stage::prepared);
  EXPECT_TRUE(trainer.state().optimizer.empty());
  EXPECT_THROW(trainer.step(), InternalError);
  trainer.start();
  const double before = trainer.evaluate_held_out()->objective;
  for (std::int64_t i = 0; i < recipe_.steps; ++i) {
    EXPECT_EQ(trainer.stage(), Stage::training);
    const StepResult result = trainer.step();
    EXPECT_EQ(result.tokens, 2 * 2 * kLength);
    EXPECT_EQ(result.sums.tokens, 2 * 2 * (kLength - 1));
    EXPECT_GT(result.gradient_norm, 0.0);
  }
  const double after = trainer.evaluate_held_out()->objective;
  EXPECT_LT(after, before - 0.1);
  const TrainState state = trainer.state();
  EXPECT_EQ(state.stage, Stage::finished);
  EXPECT_EQ(state.position, 6 * 2 * 2);
  EXPECT_EQ(state.start_objective, before);
  EXPECT_EQ(state.best_objective, after);
  EXPECT_TRUE(state.is_best());
  EXPECT_EQ(state.optimizer.size(), 3 * student->parameters().size());
  EXPECT_THROW(trainer.step(), InternalError);
}

TEST_F(TrainerTest, AStateGoesOnBitForBit) {
  const auto first = student(), second = student();
  Trainer straight = started(*first, alone_);
  straight.evaluate_held_out();
  for (int i = 0; i < 3; ++i) straight.step();

  TrainState state = straight.state();
  for (auto& [name, tensor] : state.optimizer) tensor = tensor.clone();
  prepare_student(recipe_, *second, *source_, &text_.training, silent_);
  const auto from = first->parameters(), to = second->parameters();
  for (std::size_t i = 0; i < from.size(); ++i) to[i].value.set_data(from[i].value.detach().clone());
  Trainer resumed(recipe_, *second, nullptr, text_, alone_);
  resumed.restore(state);
  for (int i = 0; i < 3; ++i) {
    const double loss = straight.step().loss;
    EXPECT_EQ(resumed.step().loss, loss);
  }
  expect_same(*first, *second, 0.0);
  EXPECT_EQ(resumed.evaluate_held_out()->objective, straight.evaluate_held_out()->objective);
  EXPECT_EQ(resumed.state().start_objective, straight.state().start_objective);
  EXPECT_EQ(resumed.stage(), Stage::finished);
}

TEST_F(TrainerTest, ALossThatIsNotFiniteChangesNothing) {
  const auto disturbed = student(), other = student();
  Trainer trainer = started(*disturbed, alone_), undisturbed = started(*other, alone_);
  trainer.step();
  undisturbed.step();
  const at::Tensor parameter = disturbed->parameters().front().value;
  const at::Tensor good = parameter.detach().clone();
  parameter.detach().fill_(std::numeric_limits<float>::quiet_NaN());
  try {
    trainer.step();
    FAIL() << "no error";
  } catch (const NotFinite& error) {
    EXPECT_EQ(error.of(), NotFinite::Of::step);
    EXPECT_NE(std::string(error.what()).find("step 2: the loss is nan"), std::string::npos) << error.what();
  }
  EXPECT_THROW(trainer.check_model(), NotFinite);
  EXPECT_THROW(trainer.evaluate_held_out(), NotFinite);
  parameter.detach().copy_(good);
  EXPECT_EQ(trainer.step().loss, undisturbed.step().loss);
  expect_same(*disturbed, *other, 0.0);
}

// Two threads in place of two processes.
class TwoThreads {
 public:
  explicit TwoThreads(bool reduces) : reduces_(reduces) {}

  void all_reduce(std::size_t rank, const std::vector<at::Tensor>& tensors) {
    const at::NoGradGuard no_grad;
    given_.at(rank) = &tensors;
    barrier_.arrive_and_wait();
    std::vector<at::Tensor> sums;
    for (std::size_t i = 0; i < tensors.size(); ++i) sums.push_back(given_[0]->at(i) + given_[1]->at(i));
    barrier_.arrive_and_wait();
    for (std::size_t i = 0; i < tensors.size() && reduces_; ++i) tensors[i].copy_(sums[i]);
  }

 private:
  bool reduces_;
  std::barrier<> barrier_{2};
  std::array<const std::vector<at::Tensor>*, 2> given_{};
};

class OneOfTwo final : public Communicator {
 public:
  OneOfTwo(TwoThreads& group, std::int64_t rank) : group_(group), rank_(rank) {}
  std::int64_t rank() const override { return rank_; }
  std::int64_t size() const override { return 2; }
  void all_reduce(const std::vector<at::Tensor>& tensors) override {
    group_.all_reduce(static_cast<std::size_t>(rank_), tensors);
  }

 private:
  TwoThreads& group_;
  std::int64_t rank_;
};

struct Trained {
  std::unique_ptr<model::Decoder> student;
  double loss = 0.0, gradient_norm = 0.0, objective = 0.0;
};

void train_all(Trainer& trainer, const Recipe& recipe, Trained& out) {
  StepResult last;
  for (std::int64_t i = 0; i < recipe.steps; ++i) last = trainer.step();
  out.loss = last.loss;
  out.gradient_norm = last.gradient_norm;
  out.objective = trainer.evaluate_held_out()->objective;
}

TEST_F(TrainerTest, TwoProcessesTrainWhatOneDoes) {
  Trained one{student()};
  Trainer single = started(*one.student, alone_);
  train_all(single, recipe_, one);
  for (const bool reduces : {true, false}) {
    TwoThreads group(reduces);
    OneOfTwo first(group, 0), second(group, 1);
    Trained a{student()}, b{student()};
    Trainer of_a = started(*a.student, first), of_b = started(*b.student, second);
    std::thread thread([&] { train_all(of_b, recipe_, b); });
    train_all(of_a, recipe_, a);
    thread.join();
    if (!reduces) {  // the control: each on its own half of the batches
      EXPECT_GT(std::abs(a.objective - b.objective), 1e-4);
      continue;
    }
    expect_same(*a.student, *b.student, 0.0);
    expect_same(*one.student, *a.student, 1e-5);  // sums in another order
    EXPECT_NEAR(a.loss, one.loss, 1e-5);
    EXPECT_NEAR(a.gradient_norm, one.gradient_norm, 1e-4);
    EXPECT_NEAR(a.objective, one.objective, 1e-5);
    EXPECT_EQ(a.objective, b.objective);
  }
}

TEST_F(TrainerTest, RefusesWhatDoesNotFitTogether) {
  EXPECT_EQ(refusal(recipe_, alone_), "accepted");
  Recipe recipe = recipe_;
  recipe.distill_weight = std::nullopt;
  EXPECT_NE(refusal(recipe, alone_).find("fit_to_model"), std::string::npos);
  recipe.distill_weight = 0.5;
  EXPECT_NE(refusal(recipe, alone_).find("needs a teacher"), std::string::npos);
  recipe = recipe_;
  recipe.sequence_length = 8;
  EXPECT_NE(refusal(recipe, alone_).find("sequences of 16 tokens"), std::string::npos);
  recipe = recipe_;
  recipe.gradient_accumulation = 3;
  TwoThreads group(true);
  OneOfTwo first(group, 0);
  EXPECT_NE(refusal(recipe, first).find("2 processes share"), std::string::npos);
}

}  // namespace
}  // namespace lrqat::train
