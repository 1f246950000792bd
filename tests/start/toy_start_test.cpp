// A start and a transform from outside, added through the public interface alone: named, refused and asked as
// the library's own.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/start/channel_scales.h"
#include "lrqat/start/inits.h"
#include "lrqat/start/start.h"
#include "lrqat/train/prepare_student.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"
#include "tests/start/random_text.h"

namespace lrqat::start {
namespace {

namespace testing = model::testing;
using quant::testing::expect_error;

constexpr std::int64_t kToyBytes = 12'345'678;

// Tokens that the start has seen, by input of a group.
std::map<std::string, std::int64_t>& tokens_seen() {
  static std::map<std::string, std::int64_t> seen;
  return seen;
}

// Rounds the negative of the weight, so that nothing else gives the same integers.
Start toy_start(const std::string& name) {
  return {.name = name,
          .help = "upside down",
          .gives = Gives::integers,
          .group = [](const GroupInput& group) -> StartLinear {
            group.inputs([&](const at::Tensor& x) { tokens_seen()[group.group.input] += x.size(0); });
            return [](const LinearInput& linear) -> Given {
              const at::Tensor weight = -linear.weight;
              auto rounded = quant::round_to_nearest(linear.name, weight, linear.options.spec);
              return quant::RoundedWeight{rounded, quant::divide_by_scale(weight, rounded.scale)};
            };
          },
          .bytes = [](const model::DecoderLayer&) { return kToyBytes; }};
}

// Doubles what goes into groups that a norm feeds.
Transform toy_transform(const std::string& name) {
  return {.name = name,
          .help = "half as loud",
          .apply = [](const Block& block, const SpecOf& spec_of, LayerWeights& weights) {
            for (const model::LinearGroup& group : block.layer().linear_groups()) {
              if (group.producer.norm == nullptr || !spec_of(*group.linears.front())) continue;
              fold(group, at::full({group.in_features()}, 0.5F), weights);
            }
          }};
}

class ToyStart : public ::testing::Test {
 protected:
  ToyStart()
      : source_(formats::open_weight_source(
            testing::write_random_model(folder_.path() / "m", testing::small_config()))),
        student_(model::load_float_model(source_)) {
    static const bool once = (add_start(toy_start("toy")), add_transform(toy_transform("quieter")), true);
    static_cast<void>(once);
    recipe_.method = "rtn";
    recipe_.bits = 8;
    recipe_.granularity = quant::Granularity::parse("group:32");
    recipe_.calibration_tokens = 64;
    recipe_.sequence_length = 16;
  }

  void prepare(const std::string& init, std::vector<std::string> overrides = {}) {
    recipe_.init = init;
    recipe_.overrides = std::move(overrides);
    const train::PackedDataset text = random_text(128);
    SilentProgress silent;
    train::prepare_student(recipe_, *student_, *source_, &text, silent);
  }

  at::Tensor codes(const nn::Linear& linear, double sign) const {
    const at::Tensor weight = sign * model::read_tensor(*source_, linear.name() + ".weight");
    return quant::round_to_nearest(linear.name(), weight, recipe_.spec()).weight_int;
  }

  testing::TemporaryFolder folder_;
  model::SharedSource source_;
  std::unique_ptr<model::Decoder> student_;
  train::Recipe recipe_;
};

TEST_F(ToyStart, LinearsStartFromWhatItGives) {
  tokens_seen().clear();
  prepare("toy", {"*.k_proj init=rtn", "*.down_proj init=rtn", "*.v_proj skip"});
  EXPECT_EQ(tokens_seen(),
            (std::map<std::string, std::int64_t>{
                {"self_attn.input", 2 * 64}, {"self_attn.output", 2 * 64}, {"mlp.input", 2 * 64}}))
      << "once a group, of those that ask, in two layers";
  for (const nn::Linear* linear : student_->linears()) {
    if (linear->name().ends_with("v_proj")) {
      EXPECT_FALSE(linear->weight()->is_quantized());
      continue;
    }
    const bool plain = linear->name().ends_with("k_proj") || linear->name().ends_with("down_proj");
    const at::Tensor found = linear->weight()->convert().weight_int;
    EXPECT_TRUE(at::equal(found, codes(*linear, plain ? 1.0 : -1.0))) << linear->name();
    EXPECT_FALSE(at::equal(found, codes(*linear, plain ? -1.0 : 1.0))) << "negative control";
  }
}

TEST_F(ToyStart, MethodsThatTrainTakeItToo) {
  recipe_.method = "lr-qat";
  prepare("toy");
  const nn::Linear& linear = *student_->linears().front();
  EXPECT_TRUE(at::equal(linear.weight()->convert().weight_int, codes(linear, -1.0)));
}

TEST_F(ToyStart, ATransformKeepsTheFunction) {
  const auto reference = model::load_float_model(source_);
  prepare("quieter");
  at::manual_seed(6);
  const at::Tensor tokens = at::randint(80, {2, 11}, at::kLong);
  const auto logits = [&](const model::Decoder& decoder) {
    const at::NoGradGuard no_grad;
    return decoder.logits(decoder.forward(tokens));
  };
  const at::Tensor expected = logits(*reference);
  // Weights are rounded by at most 1/254 of a group's largest; sums of 64 and more average that out.
  EXPECT_LT(testing::max_difference(logits(*student_), expected), 0.05 * expected.abs().max().item<double>());
  ASSERT_EQ(student_->replaced().size(), 4U) << "two norms of each layer";
  for (const auto& [name, value] : student_->replaced())
    EXPECT_TRUE(at::equal(value, 2.0 * reference->float_tensor(name))) << name;
}

TEST_F(ToyStart, IsNamedAndRefusedAsTheOthers) {
  EXPECT_NE(known_inits().find(", blockwise, toy, awq or quieter"), std::string::npos) << known_inits();
  EXPECT_NE(init_help().find("toy (upside down)"), std::string::npos);
  train::recipe_field("init").parse(recipe_, {"toy"});
  EXPECT_EQ(recipe_.init, "toy");
  expect_error<UsageError>([&] { train::recipe_field("init").parse(recipe_, {"toi"}); },
                           {"toi", "auto, stored", "toy", "or quieter"});
  expect_error<UsageError>([&] { check_init(methods::find_method("lora"), "toy"); },
                           {"`init` toy", "lora", "lr-qat, l4q"});
  EXPECT_NO_THROW(check_init(methods::find_method("lsq"), "toy"));
  recipe_.init = "toy";
  EXPECT_TRUE(train::needs_calibration(recipe_));
  const std::int64_t with_toy = train::calibration_bytes(recipe_, *student_, nullptr);
  recipe_.init = "quieter";  // says nothing of bytes
  EXPECT_EQ(with_toy - train::calibration_bytes(recipe_, *student_, nullptr), kToyBytes);
}

TEST_F(ToyStart, RowsAreComplete) {
  expect_error<UsageError>([] { add_start(toy_start("gptq")); }, {"gptq"});
  expect_error<UsageError>([] { add_start(toy_start("awq")); }, {"awq"});
  expect_error<UsageError>([] { add_transform(toy_transform("stored")); }, {"stored"});
  Start both = toy_start("both");
  both.linear = [](const LinearInput&) -> Given { return Decomposition{}; };
  expect_error<UsageError>([&] { add_start(both); }, {"both", "one of linear(), group() and block()"});
  Transform aimless = toy_transform("aimless");
  aimless.then = "nowhere";
  expect_error<UsageError>([&] { add_transform(aimless); }, {"aimless", "start"});
}

}  // namespace
}  // namespace lrqat::start
