#include "lrqat/nn/checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/nn/linear.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::nn {
namespace {

// A small block: matrix product, non-linearity, residual; two parameters and one that is not used.
struct Block {
  at::Tensor weight, gain, unused;
  int calls = 0;

  explicit Block(int seed) {
    at::manual_seed(seed);
    weight = at::randn({8, 8}).set_requires_grad(true);
    gain = at::randn({8}).set_requires_grad(true);
    unused = at::randn({3}).set_requires_grad(true);
  }
  at::Tensor forward(const at::Tensor& x) {
    ++calls;
    return x + at::silu(at::mm(x, weight)) * gain;
  }
  std::vector<at::Tensor> parameters() const { return {weight, gain, unused}; }
};

struct Result {
  at::Tensor loss, grad_x, grad_weight_0, grad_weight_1, grad_gain;
};

Result run(bool checkpointed, bool x_needs_grad) {
  Block first(1), second(2);
  at::manual_seed(3);
  at::Tensor x = at::randn({5, 8}).set_requires_grad(x_needs_grad);
  at::Tensor hidden = x;
  for (Block* block : {&first, &second}) {
    if (checkpointed) {
      hidden = checkpoint([block](at::TensorList in) { return block->forward(in[0]); }, {hidden},
                          block->parameters());
    } else {
      hidden = block->forward(hidden);
    }
  }
  const at::Tensor loss = hidden.pow(2).sum();
  torch::autograd::backward({loss});
  EXPECT_EQ(first.calls, checkpointed ? 2 : 1);
  EXPECT_FALSE(first.unused.grad().defined());
  return {loss.detach(), x.grad(), first.weight.grad(), second.weight.grad(), first.gain.grad()};
}

TEST(Checkpoint, GradientsAreBitEqual) {
  for (const bool x_needs_grad : {false, true}) {
    const Result plain = run(false, x_needs_grad);
    const Result made_again = run(true, x_needs_grad);
    EXPECT_TRUE(at::equal(plain.loss, made_again.loss));
    EXPECT_TRUE(at::equal(plain.grad_weight_0, made_again.grad_weight_0));
    EXPECT_TRUE(at::equal(plain.grad_weight_1, made_again.grad_weight_1));
    EXPECT_TRUE(at::equal(plain.grad_gain, made_again.grad_gain));
    EXPECT_EQ(made_again.grad_x.defined(), x_needs_grad);
    if (x_needs_grad) {
      EXPECT_TRUE(at::equal(plain.grad_x, made_again.grad_x));
    }
  }
}

// Two activations, one used twice and one without gradient; the same block also stands in the graph twice.
TEST(Checkpoint, SeveralActivationsAndASharedParameter) {
  const auto run_once = [](bool checkpointed) {
    at::manual_seed(4);
    at::Tensor w = at::randn({4, 4}).set_requires_grad(true);
    at::Tensor a = at::randn({3, 4}).set_requires_grad(true);
    const at::Tensor b = at::randn({3, 4});
    const CheckpointedFunction fn = [w](at::TensorList in) {
      return at::tanh(at::mm(in[0], w)) * in[1] + in[0];
    };
    at::Tensor y = a;
    for (int i = 0; i < 2; ++i) {
      const std::vector<at::Tensor> inputs = {y, b};
      y = checkpointed ? checkpoint(fn, inputs, {w}) : fn(inputs);
    }
    torch::autograd::backward({y.sum()});
    return std::pair(a.grad(), w.grad());
  };
  const auto [plain_a, plain_w] = run_once(false);
  const auto [again_a, again_w] = run_once(true);
  EXPECT_TRUE(at::equal(plain_a, again_a));
  EXPECT_TRUE(at::equal(plain_w, again_w));
  EXPECT_GT(plain_w.abs().max().item<float>(), 0.0F);
}

// Without grad mode nothing is kept and nothing is recorded.
TEST(Checkpoint, NoGraphUnderNoGrad) {
  Block block(5);
  const at::NoGradGuard no_grad;
  const at::Tensor y = checkpoint([&](at::TensorList in) { return block.forward(in[0]); },
                                  {at::randn({2, 8})}, block.parameters());
  EXPECT_FALSE(y.requires_grad());
}

// A parameter that changes between forward and backward changes the gradient: the second pass really runs.
TEST(Checkpoint, SecondPassUsesTheParametersOfThen) {
  Block block(6);
  at::Tensor x = at::ones({2, 8}).set_requires_grad(true);
  const at::Tensor y =
      checkpoint([&](at::TensorList in) { return block.forward(in[0]); }, {x}, block.parameters());
  {
    const at::NoGradGuard no_grad;
    block.gain.zero_();
  }
  torch::autograd::backward({y.sum()});
  EXPECT_TRUE(at::equal(x.grad(), at::ones({2, 8})));
}

}  // namespace
}  // namespace lrqat::nn
