#include "lrqat/start/calibrate.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "lrqat/quant/integer_weight.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::model {
namespace {

using Hessians = std::map<std::string, at::Tensor>;

std::vector<at::Tensor> batches() {
  at::manual_seed(5);
  return {at::randint(80, {2, 12}, at::kLong), at::randint(80, {1, 12}, at::kLong)};
}

// What the finished model's linears see: since a linear's input depends only on linears before it, that is
// what calibration has to have shown.
Hessians observe(Decoder& decoder) {
  Hessians out;
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

Hessians calibrate_by_rounding(Decoder& decoder, const formats::WeightSource& source) {
  Hessians out;
  const start::CalibrationVisitor visitor{
      [](std::span<nn::Linear* const>) { return true; },
      [&](std::span<nn::Linear* const> linears, const at::Tensor& hessian) {
        for (nn::Linear* linear : linears) {
          out[linear->name()] = hessian;
          linear->set_weight(std::make_shared<quant::IntegerWeight>(
              linear->name(),
              quant::round_to_nearest(linear->name(), read_tensor(source, linear->name() + ".weight"),
                                      quant::Grid::signed_symmetric(2), {},
                                      quant::RangeEstimator::parse("mse"), {})));
        }
      }};
  SilentProgress silent;
  start::calibrate(decoder, batches(), visitor, silent);
  return out;
}

void expect_inputs_of_the_prepared(const formats::ModelConfig& config) {
  const testing::TemporaryFolder folder;
  const auto path = testing::write_random_model(folder.path() / "m", config);
  const SharedSource source(formats::open_weight_source(path));
  const auto decoder = load_float_model(source), reference = load_float_model(source);
  const Hessians found = calibrate_by_rounding(*decoder, *source);
  const Hessians expected = observe(*decoder), of_float = observe(*reference);
  ASSERT_EQ(found.size(), decoder->linears().size());
  for (const auto& [name, hessian] : found) {
    EXPECT_TRUE(at::allclose(hessian, expected.at(name), 1e-4, 1e-5)) << name;
    const bool first =
        name.find("layers.0.self_attn") != std::string::npos && name.find("o_proj") == std::string::npos;
    EXPECT_EQ(at::allclose(hessian, of_float.at(name), 1e-4, 1e-5), first) << name << ": negative control";
  }
}

TEST(Calibrate, LinearsSeeWhatThoseBeforeThemProduceOncePrepared) {
  expect_inputs_of_the_prepared(testing::full_config());
}

TEST(Calibrate, LinearsOfGemmaToo) {
  expect_inputs_of_the_prepared(testing::gemma_config(2));
  expect_inputs_of_the_prepared(testing::gemma_config(3));
}

TEST(Calibrate, UnwantedInputsAreNotObserved) {
  const testing::TemporaryFolder folder;
  const auto path = testing::write_random_model(folder.path() / "m", testing::small_config());
  const auto decoder = load_float_model(path);
  std::vector<std::string> observed, all;
  const start::CalibrationVisitor visitor{
      [](std::span<nn::Linear* const> linears) { return linears[0]->name().ends_with("down_proj"); },
      [&](std::span<nn::Linear* const> linears, const at::Tensor& hessian) {
        for (const nn::Linear* linear : linears) {
          all.push_back(linear->name());
          if (hessian.defined()) observed.push_back(linear->name());
        }
      }};
  SilentProgress silent;
  start::calibrate(*decoder, batches(), visitor, silent);
  EXPECT_EQ(all.size(), decoder->linears().size());
  EXPECT_EQ(observed,
            (std::vector<std::string>{"model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"}));
}

}  // namespace
}  // namespace lrqat::model
