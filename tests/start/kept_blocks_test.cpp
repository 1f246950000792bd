// A start from calibration text that was killed ends as one that was not, whatever it had kept of its hidden
// states.
#include "lrqat/start/kept_blocks.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "lrqat/train/prepare_student.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/start/random_text.h"

namespace lrqat::start {
namespace {

namespace fs = std::filesystem;
namespace testing = model::testing;
using train::Recipe;

constexpr std::int64_t kLayers = 3, kSteps = 4;

struct Killed : std::runtime_error {
  Killed() : std::runtime_error("killed") {}
};

// Ends the program, so to speak, as soon as calibration has come further than `last`.
class Killer final : public ProgressReporter {
 public:
  explicit Killer(std::int64_t last) : last_(last) {}
  void start(std::string_view task, std::int64_t total) override {
    task_ = task;
    totals_[task_] = total;
  }
  void update(std::int64_t done, std::string_view) override {
    if (task_ == "calibrate" && done > last_) throw Killed();
  }
  void finish() override {}
  void message(std::string_view) override {}
  std::int64_t total(const std::string& task) const { return totals_.contains(task) ? totals_.at(task) : 0; }

 private:
  std::int64_t last_;
  std::string task_;
  std::map<std::string, std::int64_t> totals_;
};

class KeptBlocksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    formats::ModelConfig config = testing::small_config();
    config.num_hidden_layers = kLayers;
    source_ = model::SharedSource(
        formats::open_weight_source(testing::write_random_model(folder_.path() / "m", config)));
    text_ = random_text(256);
  }
  static Recipe recipe(const std::string& method, const std::string& init) {
    Recipe recipe;
    recipe.method = method;
    recipe.init = init;
    recipe.bits = 3;
    recipe.granularity = quant::Granularity::parse("group:32");
    recipe.rank = 4;
    recipe.calibration_tokens = 256;
    recipe.sequence_length = 16;
    recipe.block_steps = kSteps;
    recipe.overrides = {"*.layers.1.self_attn.q_proj skip"};
    return recipe;
  }
  std::unique_ptr<model::Decoder> prepared(const Recipe& recipe, ProgressReporter& progress,
                                           const Workspace& space) const {
    auto student = model::load_float_model(source_);
    train::prepare_student(recipe, *student, *source_, &*text_, progress, space);
    return student;
  }

  testing::TemporaryFolder folder_;
  model::SharedSource source_;
  std::optional<train::PackedDataset> text_;
};

std::map<std::string, at::Tensor> tensors_of(model::Decoder& decoder) {
  std::map<std::string, at::Tensor> tensors(decoder.replaced());
  for (const nn::Linear* linear : decoder.linears()) {
    const auto& weight = linear->weight();
    for (const auto& [name, tensor] : weight->buffers()) tensors[linear->name() + "." + name] = tensor;
    for (const auto& one : weight->parameters()) tensors[linear->name() + "." + one.name] = one.value;
  }
  return tensors;
}

void expect_equal(model::Decoder& found, model::Decoder& expected) {
  const auto of_found = tensors_of(found), of_expected = tensors_of(expected);
  ASSERT_EQ(of_found.size(), of_expected.size());
  for (const auto& [name, tensor] : of_expected)
    EXPECT_TRUE(of_found.contains(name) && at::equal(of_found.at(name), tensor)) << name;
  const at::NoGradGuard no_grad;
  const at::Tensor tokens = at::arange(12).view({1, 12});
  EXPECT_TRUE(at::equal(found.forward(tokens), expected.forward(tokens)));
}

TEST_F(KeptBlocksTest, AKilledStartEndsAsOneThatWasNot) {
  for (const auto& [method, init] : std::vector<std::pair<std::string, std::string>>{{"lr-qat", "blockwise"},
                                                                                     {"rtn", "blockwise"},
                                                                                     {"lsq", "blockwise"},
                                                                                     {"lr-qat", "gptq"},
                                                                                     {"peqa", "awq"}}) {
    for (const bool on_disk : {false, true}) {
      SCOPED_TRACE(concat(method, " ", init, on_disk ? ", hidden states on disk" : ""));
      Recipe own = recipe(method, init);
      own.memory_budget = on_disk ? 1 : 1 << 30;
      Killer never(1000);
      const auto expected = prepared(own, never, {});
      const std::int64_t steps = never.total("calibrate") / kLayers;
      EXPECT_EQ(steps, init == "blockwise" ? kSteps : 1);

      const fs::path kept = folder_.path() / concat(method, init, on_disk);
      Workspace space;
      space.folder = [&] {
        fs::create_directories(kept);
        return kept;
      };
      for (std::int64_t block = 0; block < kLayers; ++block) {  // each program gets one block further
        Killer killer(steps == 1 ? 0 : steps);                  // in the next block, or between them
        EXPECT_THROW(prepared(own, killer, space), Killed);
        EXPECT_EQ(killer.total("calibrate"), (kLayers - block) * steps)
            << "finished blocks are not prepared again";
        EXPECT_EQ(killer.total("go on"), on_disk ? 0 : block)
            << "hidden states on disk are not computed again";
        EXPECT_EQ(fs::exists(kept / "hidden"), on_disk);
        space.begun = kept;
        if (block + 2 == kLayers) break;
      }
      Killer last(1000);
      const auto found = prepared(own, last, space);
      expect_equal(*found, *expected);
      EXPECT_FALSE(fs::exists(kept / "hidden"));
      Killer complete(0);
      expect_equal(*prepared(own, complete, space), *expected);
      EXPECT_EQ(complete.total("calibrate"), 0) << "all blocks are there";
    }
  }
}

TEST_F(KeptBlocksTest, MemoryThatHasBecomeLessOrMoreIsNoObstacle) {
  Recipe own = recipe("rtn", "blockwise");
  own.memory_budget = 1 << 30;
  Killer never(1000);
  const auto expected = prepared(own, never, {});
  for (const bool first_on_disk : {false, true}) {
    const fs::path kept = folder_.path() / concat("kept", first_on_disk);
    Workspace space;
    space.folder = [&] {
      fs::create_directories(kept);
      return kept;
    };
    own.memory_budget = first_on_disk ? 1 : 1 << 30;
    Killer killer(kSteps);
    EXPECT_THROW(prepared(own, killer, space), Killed);
    space.begun = kept;
    own.memory_budget = first_on_disk ? 1 << 30 : 1;
    expect_equal(*prepared(own, never, space), *expected);
  }
}

}  // namespace
}  // namespace lrqat::start
