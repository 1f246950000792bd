#include "lrqat/ops/learned_rounding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/ops/backend.h"
#include "lrqat/ops/products.h"

namespace lrqat::ops {
namespace {

LearnedRounding random_state(std::int64_t rows, std::int64_t cols, std::int64_t groups, bool shifted) {
  LearnedRounding state{.weight = at::randn({rows, cols}),
                        .rounding = at::randint(-16384, 16385, {rows, cols}, at::kShort),
                        .scale = (0.2 + at::rand({rows, groups})) * at::randn({rows, groups}).sign(),
                        .quant_min = -8,
                        .quant_max = 7};
  if (shifted) state.zero_point = at::randint(-3, 4, {rows, groups}, at::kFloat);
  return state;
}

// What every device computes: codes and steps bit for bit.
TEST(LearnedRounding, KernelsAreTheOperationsInATen) {
  at::manual_seed(1);
  for (const bool shifted : {false, true}) {
    LearnedRounding state = random_state(40, 96, 3, shifted), other = state;
    other.rounding = state.rounding.clone();
    for (const at::ScalarType type : {at::kChar, at::kFloat, at::kBFloat16}) {
      const at::Tensor out = at::zeros({40, 96}, type), expected = at::zeros_like(out);
      round_learned(state, 3, 40, out);
      plain_backend().round_learned(state, 3, 40, expected);
      EXPECT_TRUE(at::equal(out, expected)) << type;
    }
    for (const ComputeType compute : {ComputeType::float32, ComputeType::bfloat16}) {
      // Whole numbers, so that dL/dŴ is the same in whatever order it is summed.
      const at::Tensor x = at::randint(-3, 4, {30, 96}, at::kFloat),
                       grad = at::randint(-3, 4, {30, 40}, at::kFloat);
      LinearGradient linear{
          .x = in_compute_type(x, compute), .grad_output = grad, .operand = in_compute_type(grad, compute)};
      const at::Tensor ds = at::empty({40, 3}), expected_ds = at::empty_like(ds);
      const at::Tensor dz = shifted ? at::empty({40, 3}) : at::Tensor();
      const at::Tensor expected_dz = shifted ? at::empty_like(dz) : at::Tensor();
      const at::Tensor before = state.rounding.clone();
      step_rounding(state, linear, 0.01, ds, dz);
      plain_backend().step_rounding(other, linear, 0.01, expected_ds, expected_dz);
      EXPECT_FALSE(at::equal(state.rounding, before));
      EXPECT_TRUE(at::equal(state.rounding, other.rounding));
      EXPECT_TRUE(at::allclose(ds, expected_ds, 1e-4, 1e-4));
      if (shifted) {
        EXPECT_TRUE(at::allclose(dz, expected_dz, 1e-4, 1e-4));
      }
    }
  }
}

}  // namespace
}  // namespace lrqat::ops
