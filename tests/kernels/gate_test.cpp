#include "lrqat/kernels/gate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace lrqat::kernels {
namespace {

// In double precision, from the formulas.
double silu(double x) { return x / (1.0 + std::exp(-x)); }
double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
}
double slope_of(double (*f)(double), double x) { return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5; }

struct Function {
  double (*exact)(double);
  void (*gate)(const float*, const float*, std::int64_t, float*);
  void (*gradients)(const float*, const float*, const float*, std::int64_t, float*, float*);
};

class Gate : public ::testing::TestWithParam<Function> {};

TEST_P(Gate, EqualsTheFormula) {
  std::vector<float> gate, up, dy;
  for (int i = -4000; i <= 4000; ++i) {
    gate.push_back(static_cast<float>(i) / 100.0F);  // also far out, where exp and tanh end
    up.push_back(0.5F + static_cast<float>(i % 7) / 4.0F);
    dy.push_back(1.0F - static_cast<float>(i % 5) / 3.0F);
  }
  const auto n = static_cast<std::int64_t>(gate.size());
  std::vector<float> out(n), dgate(n), dup(n);
  GetParam().gate(gate.data(), up.data(), n, out.data());
  GetParam().gradients(dy.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
  for (std::int64_t i = 0; i < n; ++i) {
    const double value = GetParam().exact(gate[i]), size = std::abs(gate[i]) + 1.0;
    ASSERT_NEAR(out[i], value * up[i], 4e-7 * size * std::abs(up[i])) << gate[i];
    ASSERT_NEAR(dup[i], value * dy[i], 4e-7 * size * std::abs(dy[i])) << gate[i];
    ASSERT_NEAR(dgate[i], slope_of(GetParam().exact, gate[i]) * dy[i] * up[i], 3e-6) << gate[i];
  }
}

TEST_P(Gate, KeepsWhatIsNotANumber) {
  const std::vector<float> bad(40, NAN), one(40, 1.0F);
  std::vector<float> out(40), dgate(40), dup(40);
  GetParam().gate(bad.data(), one.data(), 40, out.data());
  GetParam().gradients(one.data(), bad.data(), one.data(), 40, dgate.data(), dup.data());
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(std::isnan(out[i]));
    ASSERT_TRUE(std::isnan(dgate[i]));
    ASSERT_TRUE(std::isnan(dup[i]));
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, Gate,
                         ::testing::Values(Function{silu, silu_gate, silu_gate_gradients},
                                           Function{gelu_tanh, gelu_tanh_gate, gelu_tanh_gate_gradients}));

}  // namespace
}  // namespace lrqat::kernels
