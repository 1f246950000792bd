#include "lrqat/ops/backend.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/ops/quantize_tokens.h"

namespace lrqat::ops {
namespace {

// A device with one operation of its own: meta tensors have shapes and no memory.
class ToyBackend final : public Backend {
 public:
  NormedRows rms_norm_rows(const at::Tensor& x, const at::Tensor&, double) const override { return {x, x}; }
  std::int64_t tile_rows(std::int64_t) const override { return 7; }
};

TEST(Backend, ADeviceIsOneClassAndOneRow) {
  const at::Device device(at::kMeta);
  EXPECT_EQ(&backend_of(device), &plain_backend());
  static const ToyBackend toy;
  add_backend(at::kMeta, toy);
  const at::Tensor x = at::ones({3, 8}, device), weight = at::ones({8}, device);
  EXPECT_TRUE(rms_norm_rows(x, weight, 1e-6).y.is_same(x)) << "its own";
  EXPECT_EQ(tile_rows(8, device), 7);
  const at::Tensor angles = at::ones({2, 4}, device);
  EXPECT_EQ(rotate_heads(at::ones({1, 2, 3, 8}, device), angles, angles, false).sizes(),
            at::IntArrayRef({1, 2, 3, 8}))
      << "what it does not have, in ATen's operations";
  add_backend(at::kMeta, plain_backend());
}

void expect_near(const at::Tensor& found, const at::Tensor& expected, const char* what) {
  EXPECT_TRUE(at::allclose(found, expected, 1e-5, 1e-6)) << what;
  EXPECT_FALSE(at::allclose(found, 1.01 * expected + 0.01, 1e-5, 1e-6)) << what << ": negative control";
}

TEST(Backend, TheCpusFormsAreThePlainOnes) {
  const Backend &cpu = backend_of(at::Device(at::kCPU)), &plain = plain_backend();
  ASSERT_NE(&cpu, &plain);
  const at::Tensor x = at::randn({9, 64}), weight = at::randn({64}), grad = at::randn({9, 64});
  const NormedRows normed = cpu.rms_norm_rows(x, weight, 1e-6),
                   expected = plain.rms_norm_rows(x, weight, 1e-6);
  expect_near(normed.y, expected.y, "norm");
  expect_near(cpu.rms_norm_input_gradient(grad, x, weight, normed.r),
              plain.rms_norm_input_gradient(grad, x, weight, expected.r), "gradient of norm");
  const at::Tensor heads = at::randn({2, 3, 4, 8}), cos = at::randn({3, 4}), sin = at::randn({3, 4});
  for (const bool inverse : {false, true})
    expect_near(cpu.rotate_heads(heads, cos, sin, inverse), plain.rotate_heads(heads, cos, sin, inverse),
                "rotation");
  at::Tensor mask, plain_mask;
  EXPECT_TRUE(at::equal(cpu.quantized_tokens(x, 4, &mask), plain.quantized_tokens(x, 4, &plain_mask)));
  EXPECT_TRUE(at::equal(mask, plain_mask));
  const at::Tensor targets = at::randint(64, {9}, at::kLong);
  const TargetScores scores = cpu.score_targets(x, targets), others = plain.score_targets(x, targets);
  expect_near(scores.log_probability, others.log_probability, "scores");
  EXPECT_TRUE(at::equal(scores.greedy, others.greedy));
}

}  // namespace
}  // namespace lrqat::ops
