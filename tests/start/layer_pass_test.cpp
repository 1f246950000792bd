// The walk over a model's blocks: what linears are shown is what the finished model gives them, wherever the
// hidden states lie, and a pass that was killed ends as one that was not.
#include "lrqat/start/layer_pass.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "lrqat/quant/float_weight.h"
#include "lrqat/start/input_statistics.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::start {
namespace {

namespace testing = model::testing;
using model::Decoder;

using Tensors = std::map<std::string, at::Tensor>;

std::vector<at::Tensor> batches() {
  at::manual_seed(5);
  return {at::randint(80, {2, 12}, at::kLong), at::randint(80, {1, 12}, at::kLong)};
}

class LayerPassTest : public ::testing::Test {
 protected:
  void open(const formats::ModelConfig& config) {
    source_ = model::SharedSource(formats::open_weight_source(
        testing::write_random_model(folder_.path() / concat(config.model_type, "-m"), config)));
  }
  void SetUp() override { open(testing::full_config()); }

  std::unique_ptr<Decoder> load() const { return model::load_float_model(source_); }
  std::filesystem::path activations() const { return folder_.path() / "activations"; }

  // A weight of two significant bits or so: any rounding shows whether a linear was prepared.
  void round(nn::Linear& linear) const {
    const at::Tensor weight = model::read_tensor(*source_, linear.name() + ".weight");
    linear.set_weight(std::make_shared<quant::FloatWeight>(at::round(weight / weight.std()) * weight.std()));
  }
  void round(model::DecoderLayer& layer) const {
    for (nn::Linear* linear : layer.linears()) round(*linear);
  }

  // Rounds group by group; Hessians by linear.
  Tensors calibrate(Decoder& decoder) const {
    Tensors found;
    SilentProgress silent;
    LayerPass(decoder, batches())
        .run(
            [&](Block& block) {
              block.prepare_in_order([&](const model::LinearGroup& group, const ForEachInput& inputs) {
                const at::Tensor hessian = input_hessian(group, inputs, block.device());
                for (nn::Linear* linear : group.linears) {
                  found[linear->name()] = hessian;
                  round(*linear);
                }
              });
            },
            silent);
    return found;
  }

  void expect_inputs_of_the_prepared() const;

  testing::TemporaryFolder folder_;
  model::SharedSource source_;
};

// What the finished model's linears see: since a linear's input depends only on linears before it, that is
// what calibration has to have shown.
Tensors observe(Decoder& decoder) {
  Tensors out;
  for (nn::Linear* linear : decoder.linears()) {
    linear->set_input_observer([&out, name = linear->name()](const at::Tensor& x) {
      const at::Tensor term = 2.0 * at::mm(x.t(), x);
      out[name] = out.contains(name) ? out[name] + term : term;
    });
  }
  for (const at::Tensor& tokens : batches()) decoder.forward(tokens);
  for (nn::Linear* linear : decoder.linears()) linear->set_input_observer({});
  return out;
}

void LayerPassTest::expect_inputs_of_the_prepared() const {
  const auto decoder = load(), reference = load();
  const Tensors found = calibrate(*decoder);
  const Tensors expected = observe(*decoder), of_float = observe(*reference);
  ASSERT_EQ(found.size(), decoder->linears().size());
  for (const auto& [name, hessian] : found) {
    EXPECT_TRUE(at::allclose(hessian, expected.at(name), 1e-4, 1e-5)) << name;
    const bool first =
        name.find("layers.0.self_attn") != std::string::npos && name.find("o_proj") == std::string::npos;
    EXPECT_EQ(at::allclose(hessian, of_float.at(name), 1e-4, 1e-5), first) << name << ": negative control";
  }
}

TEST_F(LayerPassTest, GroupsSeeWhatThoseBeforeThemProduceOncePrepared) { expect_inputs_of_the_prepared(); }

TEST_F(LayerPassTest, GroupsOfGemmaToo) {
  for (const int generation : {2, 3}) {
    open(testing::gemma_config(generation));
    expect_inputs_of_the_prepared();
  }
}

// What a visitor looks at, block by block.
using Seen = std::vector<at::Tensor>;

Seen look(const Block& block) {
  Seen seen;
  for (std::size_t i = 0; i < block.batches(); ++i) {
    seen.push_back(block.input(i));
    seen.push_back(block.target(i));
  }
  for (const quant::InputStatistics& input : input_statistics(block)) {
    seen.push_back(input.hessian);
    seen.push_back(input.mean_abs);
  }
  return seen;
}

bool equal(const Seen& a, const Seen& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return at::equal(x, y); });
}

struct Killed : std::runtime_error {
  Killed() : std::runtime_error("killed") {}
};

TEST_F(LayerPassTest, TargetsAreTheFloatModelsAndInputsThePreparedOnes) {
  const auto decoder = load(), reference = load();
  const auto text = batches();
  SilentProgress silent;
  LayerPass(*decoder, text, {.targets = true})
      .run(
          [&](Block& block) {
            const at::NoGradGuard no_grad;
            at::Tensor of_float = reference->embed(text[1]), of_prepared = of_float;
            for (std::int64_t i = 0; i <= block.index(); ++i)
              of_float = reference->layer_forward(i, of_float);
            for (std::int64_t i = 0; i < block.index(); ++i)
              of_prepared = decoder->layer_forward(i, of_prepared);
            EXPECT_TRUE(at::equal(block.target(1), of_float)) << block.index();
            EXPECT_TRUE(at::equal(block.input(1), of_prepared)) << block.index();
            EXPECT_EQ(at::equal(block.forward(block.input(1)), of_float), block.index() == 0)
                << "negative control";
            round(block.layer());
          },
          silent);
}

TEST_F(LayerPassTest, OnDiskItGivesTheSameBitsAndLeavesNothing) {
  const auto run = [&](const LayerPassOptions& options, bool in_order) {
    const auto decoder = load();
    std::vector<Seen> seen;
    SilentProgress silent;
    LayerPass(*decoder, batches(), options)
        .run(
            [&](Block& block) {
              seen.push_back(look(block));
              if (!in_order) return round(block.layer());
              block.prepare_in_order([&](const model::LinearGroup& group, const ForEachInput& inputs) {
                seen.back().push_back(input_hessian(group, inputs, block.device()));
                for (nn::Linear* linear : group.linears) round(*linear);
              });
            },
            silent);
    return seen;
  };
  for (const bool in_order : {false, true}) {
    const auto expected = run({.targets = true}, in_order);
    for (const bool resumable : {false, true}) {
      const auto found = run({.targets = true, .folder = activations(), .resumable = resumable}, in_order);
      ASSERT_EQ(found.size(), expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(equal(found[i], expected[i])) << i;
      EXPECT_FALSE(equal(found[0], expected[1])) << "negative control";
      EXPECT_FALSE(std::filesystem::exists(activations()));
    }
  }
}

// Killed in every block, after some of its groups: the block is repeated, those before it are not.
TEST_F(LayerPassTest, AKilledPassGoesOnAtItsBlockAndEndsWithTheSameBits) {
  const LayerPassOptions options{
      .targets = true, .folder = activations(), .resumable = true, .key = "recipe"};
  std::vector<Seen> expected;
  SilentProgress silent;
  const auto whole = load();
  LayerPass(*whole, batches(), {.targets = true})
      .run(
          [&](Block& block) {
            expected.push_back(look(block));
            round(block.layer());
          },
          silent);
  for (std::int64_t killed = 0; killed <= whole->num_layers(); ++killed) {
    const auto decoder = load();  // as a new program would
    LayerPass pass(*decoder, batches(), options);
    EXPECT_EQ(pass.next(), std::max<std::int64_t>(killed - 1, 0));
    for (std::int64_t i = 0; i < pass.next(); ++i) round(decoder->layer(i));
    const auto visit = [&](Block& block) {
      EXPECT_GE(block.index(), killed - 1) << "a finished block is not visited again";
      EXPECT_TRUE(equal(look(block), expected.at(static_cast<std::size_t>(block.index())))) << block.index();
      if (block.index() != killed) return round(block.layer());
      block.prepare_in_order([&](const model::LinearGroup& group, const ForEachInput&) {
        if (group.input == "mlp.product") throw Killed();
        for (nn::Linear* linear : group.linears) round(*linear);
      });
    };
    if (killed < whole->num_layers()) {
      EXPECT_THROW(pass.run(visit, silent), Killed);
    } else {
      pass.run(visit, silent);
      EXPECT_EQ(pass.next(), whole->num_layers());
    }
  }
  EXPECT_FALSE(std::filesystem::exists(activations()));
}

TEST_F(LayerPassTest, AnotherTextModelOrRecipeDoesNotGoOn) {
  const LayerPassOptions options{.folder = activations(), .resumable = true, .key = "recipe"};
  const auto decoder = load();
  const auto begin = [&](const std::vector<at::Tensor>& text, const LayerPassOptions& with) {
    return LayerPass(*decoder, text, with).next();
  };
  EXPECT_EQ(begin(batches(), options), 0);
  EXPECT_EQ(begin(batches(), options), 0) << "the same one goes on";
  auto other = batches();
  other[1][0][3] = (other[1][0][3] + 1) % 80;
  EXPECT_THROW(begin(other, options), Error);
  LayerPassOptions another = options;
  another.key = "another recipe";
  EXPECT_THROW(begin(batches(), another), Error);
  const LayerPass first(*decoder, batches(), options);
  EXPECT_THROW(begin(batches(), options), Error) << "two programs in one folder";
}

// A group whose inputs nobody asks for costs no pass.
TEST_F(LayerPassTest, InputsAreOnlyRunForThoseWhoAsk) {
  const auto decoder = load();
  std::map<std::string, int> batches_seen;
  SilentProgress silent;
  LayerPass(*decoder, batches())
      .run(
          [&](Block& block) {
            block.prepare_in_order([&](const model::LinearGroup& group, const ForEachInput& inputs) {
              batches_seen[group.input] += 0;
              if (group.input == "self_attn.output")
                inputs([&](const at::Tensor& x) {
                  EXPECT_EQ(x.size(1), group.in_features());
                  ++batches_seen[group.input];
                });
            });
          },
          silent);
  EXPECT_EQ(batches_seen.size(), 4U);
  EXPECT_EQ(batches_seen.at("self_attn.output"), 2 * decoder->num_layers());
  EXPECT_EQ(batches_seen.at("mlp.input"), 0);
}

}  // namespace
}  // namespace lrqat::start
