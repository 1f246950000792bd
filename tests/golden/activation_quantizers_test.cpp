// Fake quantization of activations against the reference's quantizers: per token and with static ranges that
// are observed, fixed or learned.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/quant/activation_quantizer.h"
#include "tests/golden/comparer.h"
#include "tests/golden/golden_data.h"

namespace lrqat::golden {
namespace {

constexpr double kScale = 1e-6;   // one division or multiplication
constexpr double kValues = 2e-6;  // a fraction of a step in z, times s
constexpr double kZeroFloat = 1e-5;

template <typename Visit>
int for_each_case(const std::string& method, const Visit& visit) {
  const GoldenFile file("activation_quantizers");
  int count = 0;
  for (const Json& entry : file.cases()) {
    if (entry.at("method") != method) continue;
    visit(file, entry);
    ++count;
  }
  return count;
}

TEST(GoldenActivationQuantizers, PerToken) {
  Comparer comparer;
  const int cases =
      for_each_case("dynamic_per_token_asymmetric", [&](const GoldenFile& file, const Json& entry) {
        const std::string name = describe(entry);
        const auto stored = [&](const char* what) { return file.tensor(entry, what); };
        const int bits = entry.at("num_bits");
        const auto parts = quant::quantize_per_token(stored("X"), bits);
        comparer.check(name, "scale", stored("scale"), parts.scale, kScale);
        comparer.check(name, "zero_point", stored("zero_point"), parts.zero_point, kScale);
        comparer.check(name, "shifted_codes", stored("shifted_codes"), parts.codes, kValues);
        const at::Tensor x = stored("X").requires_grad_();
        const at::Tensor y = quant::fake_quantize_per_token(x, bits);
        comparer.check(name, "Y", stored("Y"), y, kValues);
        const at::Tensor grad = torch::autograd::grad({y}, {x}, {stored("dY")})[0];
        comparer.check(name, "grad_X", stored("grad_X"), grad, kScale);
        EXPECT_EQ(grad.eq(0).sum().item<std::int64_t>(), entry.at("n_clamped").get<std::int64_t>()) << name;
      });
  EXPECT_GT(cases, 0);
}

// As the vectors were made: three batches are observed, the fourth too while ranges are still estimated;
// learned scales have moved by 0.93.
quant::StaticQuantizer quantizer_of(const GoldenFile& file, const Json& entry) {
  quant::StaticQuantizer quantizer({entry.at("num_bits"), entry.at("quantizer") == "symmetric",
                                    entry.at("momentum"), entry.at("grad_scaling")});
  for (const char* batch : {"batch0", "batch1", "batch2"}) quantizer.observe(file.tensor(entry, batch));
  if (entry.at("x_included_in_range")) quantizer.observe(file.tensor(entry, "X"));
  if (entry.at("state") == "learned") {
    quantizer.learn();
    const at::NoGradGuard no_grad;
    at::Tensor(quantizer.parameters()[0].value).copy_(file.tensor(entry, "delta").view({1}));
  }
  return quantizer;
}

void compare_learned(Comparer& comparer, const GoldenFile& file, const Json& entry,
                     const quant::StaticQuantizer& quantizer, const std::vector<at::Tensor>& grads) {
  const auto parts = quantizer.quantize(file.tensor(entry, "X"));
  const at::Tensor dy = file.tensor(entry, "dY").to(at::kDouble);
  const double factor = entry.at("grad_scale");
  const auto root = [&](const at::Tensor& terms) {
    return terms.square().sum().sqrt().item<double>() * factor;
  };
  comparer.check(describe(entry), "grad_delta", file.tensor(entry, "grad_delta"), grads[1], kFloatSum,
                 root(dy * (parts.codes - parts.zero_point)));
  if (grads.size() < 3) return;
  comparer.check(describe(entry), "grad_zero_float", file.tensor(entry, "grad_zero_float"), grads[2],
                 kFloatSum, root(dy * parts.scale));
}

TEST(GoldenActivationQuantizers, StaticRanges) {
  Comparer comparer;
  int learned = 0;
  const int cases = for_each_case("static", [&](const GoldenFile& file, const Json& entry) {
    const std::string name = describe(entry) + " " + entry.at("state").get<std::string>();
    const auto stored = [&](const char* what) { return file.tensor(entry, what); };
    const quant::StaticQuantizer quantizer = quantizer_of(file, entry);
    comparer.check(name, "x_min", stored("x_min"), at::full({1}, quantizer.low()), kScale);
    comparer.check(name, "x_max", stored("x_max"), at::full({1}, quantizer.high()), kScale);
    const auto parts = quantizer.quantize(stored("X"));
    comparer.check(name, "scale", stored("scale"), parts.scale, kScale);
    if (has_tensor(entry, "zero_float")) {
      comparer.check(name, "zero_float", stored("zero_float"), quantizer.zero_float().detach(), kZeroFloat);
      comparer.check(name, "zero_point", stored("zero_point"), parts.zero_point, kExact);
    }
    const at::Tensor x = stored("X").requires_grad_();
    std::vector<at::Tensor> inputs{x};
    for (const auto& parameter : quantizer.parameters()) inputs.push_back(parameter.value);
    const at::Tensor y = quantizer.forward(x);
    comparer.check(name, "Y", stored("Y"), y, kValues);
    EXPECT_TRUE(at::equal(y, parts.values)) << name;
    const auto grads = torch::autograd::grad({y}, inputs, {stored("dY")});
    comparer.check(name, "grad_X", stored("grad_X"), grads[0], kScale);
    EXPECT_EQ(grads.size() > 1, has_tensor(entry, "grad_delta")) << name;
    if (grads.size() > 1) {
      compare_learned(comparer, file, entry, quantizer, grads);
      ++learned;
    }
  });
  EXPECT_GT(cases, 0);
  EXPECT_GT(learned, 0);
}

// Negative control: with a whole zero point, or without the mask, the vectors per token are not met.
TEST(GoldenActivationQuantizers, WrongRulesAreNoticed) {
  int whole = 0, unmasked = 0, cases = 0;
  for_each_case("dynamic_per_token_asymmetric", [&](const GoldenFile& file, const Json& entry) {
    const at::Tensor x = file.tensor(entry, "X"), stored = file.tensor(entry, "Y");
    const auto parts = quant::quantize_per_token(x, entry.at("num_bits"));
    const at::Tensor z = parts.zero_point.round();
    const at::Tensor y =
        ((x / parts.scale).round() + z).clamp(0, entry.at("quant_max").get<int>()).sub(z) * parts.scale;
    Comparer quiet = Comparer::quiet();
    whole += quiet.check("", "Y", stored, y, kValues) ? 0 : 1;
    unmasked +=
        quiet.check("", "grad_X", file.tensor(entry, "grad_X"), file.tensor(entry, "dY"), kScale) ? 0 : 1;
    ++cases;
  });
  EXPECT_EQ(whole, cases);
  EXPECT_EQ(unmasked, cases);
}

}  // namespace
}  // namespace lrqat::golden
