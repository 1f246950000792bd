#include "lrqat/nn/linear_cross_entropy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "lrqat/base/ignore_index.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::nn {
namespace {

using ops::ComputeType;

// float32 sums over at most 2500 logits or 48 features with a relative rounding of 6e-8 each; logits of size
// 10 give exp an absolute error of 10 · 6e-8 · a few. Error measure: max|a - b| / max|b|.
constexpr double kTolerance = 5e-6;

double error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).abs().max() / wide.abs().max()).item<double>();
}

Linear make_head(const at::Tensor& weight, at::Tensor bias = {}, ComputeType compute = ComputeType::float32) {
  return Linear("lm_head", std::make_shared<quant::FloatWeight>(weight), std::move(bias), compute);
}

struct Case {
  at::Tensor hidden, weight, bias, targets, teacher_hidden, teacher_weight;

  // 2500 words: two full tiles of the vocabulary and a part.
  Case(std::int64_t tokens, std::int64_t vocabulary, bool with_bias) {
    at::manual_seed(tokens * 7 + vocabulary);
    hidden = at::randn({tokens, 48}).set_requires_grad(true);
    weight = at::randn({vocabulary, 48}) * 0.5;
    if (with_bias) bias = at::randn({vocabulary});
    targets = at::randint(0, vocabulary, {tokens}, at::kLong);
    targets.slice(0, 2, 4).fill_(kIgnoreIndex);
    targets[0] = vocabulary - 1;
    targets[1] = 0;
    teacher_hidden = at::randn({tokens, 48});
    teacher_weight = at::randn({vocabulary, 48}) * 0.5;
  }
};

struct Reference {
  double loss, cross_entropy, divergence;
  at::Tensor grad_hidden, grad_weight;
};

// KL(q ‖ p) of each row, or that of k + 1 classes: the k tokens that q has most of, and all others together.
at::Tensor divergence_of_rows(const at::Tensor& log_q, const at::Tensor& log_p, std::int64_t top_k) {
  const std::int64_t vocabulary = log_q.size(1);
  if (top_k == vocabulary) return (log_q.exp() * (log_q - log_p)).sum(1);
  const at::Tensor ids = std::get<1>(log_q.topk(top_k, 1));
  const at::Tensor known = at::zeros_like(log_q).scatter(1, ids, 1.0) > 0;
  const auto rest = [&](const at::Tensor& x) { return x.masked_fill(known, -INFINITY).logsumexp(1); };
  const auto picked = [&](const at::Tensor& x) { return x.gather(1, ids); };
  return (picked(log_q).exp() * (picked(log_q) - picked(log_p))).sum(1) +
         rest(log_q).exp() * (rest(log_q) - rest(log_p));
}

struct Softness {
  double temperature = 1;
  std::int64_t top_k = 0;  // 0: all
};

// The definition in float64, by ATen's own operations and autograd.
Reference reference(const Case& c, double divisor, double weight, double cap = 0,
                    const Softness& softness = {}) {
  const auto wide = [](const at::Tensor& t) { return t.detach().to(at::kDouble); };
  at::Tensor hidden = wide(c.hidden).set_requires_grad(true);
  at::Tensor weight_matrix = wide(c.weight).set_requires_grad(true);
  at::Tensor logits = at::mm(hidden, weight_matrix.t());
  if (c.bias.defined()) logits = logits + wide(c.bias);
  at::Tensor teacher = at::mm(wide(c.teacher_hidden), wide(c.teacher_weight).t());
  if (cap > 0) {
    logits = (logits / cap).tanh() * cap;
    teacher = (teacher / cap).tanh() * cap;
  }
  const at::Tensor log_p = at::log_softmax(logits, 1);
  const double t = softness.temperature;
  const std::int64_t top_k = softness.top_k == 0 ? logits.size(1) : softness.top_k;
  const at::Tensor rows =
      divergence_of_rows(at::log_softmax(teacher / t, 1), at::log_softmax(logits / t, 1), top_k) * (t * t);
  const at::Tensor scored = (c.targets != kIgnoreIndex).to(at::kDouble);
  const at::Tensor picked = log_p.gather(1, c.targets.clamp_min(0).unsqueeze(1)).squeeze(1);
  const at::Tensor cross_entropy = -(picked * scored).sum();
  const at::Tensor divergence = (rows * scored).sum();
  const at::Tensor loss = (divergence * weight + cross_entropy * (1.0 - weight)) / divisor;
  torch::autograd::backward({loss});
  return {loss.item<double>(), cross_entropy.item<double>(), divergence.item<double>(), hidden.grad(),
          weight_matrix.grad()};
}

// The same loss with a head that is trained: both gradients, and the values bit for bit.
void expect_head_gradient(const Case& c, const Reference& expected, const at::Tensor& frozen_loss,
                          const std::optional<Distillation>& distillation, const LossOptions& options) {
  const at::Tensor weight = c.weight.clone().set_requires_grad(true);
  const at::Tensor hidden = c.hidden.detach().clone().set_requires_grad(true);
  const at::Tensor loss =
      linear_cross_entropy(hidden, make_head(weight, c.bias), c.targets, options, distillation);
  EXPECT_TRUE(at::equal(loss, frozen_loss));
  torch::autograd::backward({loss * 3.0});
  EXPECT_LT(error(weight.grad(), expected.grad_weight * 3.0), kTolerance);
  EXPECT_LT(error(hidden.grad(), expected.grad_hidden * 3.0), kTolerance);
}

// All of it, where the loss asks for a part.
KnownLogits parts_of(const TeacherLogits& whole) {
  return [whole](std::int64_t begin, std::int64_t end) {
    const auto part = [&](const at::Tensor& x) { return x.defined() ? x.slice(0, begin, end).clone() : x; };
    return TeacherLogits{part(whole.ids), part(whole.values), part(whole.rest)};
  };
}

void expect_equals_reference(Case c, double divisor, std::optional<double> weight, LossOptions options,
                             const Softness& softness = {}) {
  options.divisor = divisor;
  const Linear head = make_head(c.weight, c.bias), teacher_head = make_head(c.teacher_weight);
  std::optional<Distillation> distillation;
  if (weight) distillation = Distillation{c.teacher_hidden, &teacher_head, *weight, softness.temperature};
  if (softness.top_k > 0) {
    distillation->known = parts_of(
        keep_logits(c.teacher_hidden, teacher_head, options.softcap, softness.top_k, softness.temperature));
  }
  LossSums sums;
  const at::Tensor loss = linear_cross_entropy(c.hidden, head, c.targets, options, distillation, &sums);
  torch::autograd::backward({loss * 3.0});
  const Reference expected = reference(c, divisor, weight.value_or(0.0), options.softcap, softness);
  expect_head_gradient(c, expected, loss, distillation, options);
  // Of few classes the divergence may be far below the logarithms that it is the difference of.
  const double least = softness.temperature * softness.temperature * static_cast<double>(c.targets.size(0));
  const auto expect_near = [](double found, double value, double scale) {
    EXPECT_NEAR(found, value, kTolerance * std::max(std::abs(value), scale));
  };
  expect_near(loss.item<double>(), expected.loss, softness.top_k > 0 ? least / divisor : 0.0);
  expect_near(sums.cross_entropy, expected.cross_entropy, 0.0);
  if (weight) expect_near(sums.divergence, expected.divergence, softness.top_k > 0 ? least : 0.0);
  EXPECT_EQ(sums.tokens, c.targets.size(0) - 2);
  EXPECT_LT(error(c.hidden.grad(), expected.grad_hidden * 3.0), kTolerance);
  EXPECT_EQ(c.hidden.grad().slice(0, 2, 4).abs().max().item<float>(), 0.0F);  // tokens not scored
  // The comparer notices a gradient that lacks one token's target.
  at::Tensor wrong = c.hidden.grad().clone();
  wrong[0] += c.weight[c.targets[0].item<std::int64_t>()] * (3.0 / divisor) * 0.01;
  EXPECT_GT(error(wrong, expected.grad_hidden * 3.0), kTolerance);
}

TEST(LinearCrossEntropy, EqualsFloat64Definition) {
  for (const bool kernels : {true, false}) {
    for (const bool bias : {false, true}) {
      for (const std::int64_t chunk_bytes : {std::int64_t{1} << 30, std::int64_t{16} * 4 * 2500}) {
        LossOptions options;
        options.use_kernels = kernels;
        options.chunk_bytes = chunk_bytes;  // all 37 tokens at once; 3 chunks, the last one shorter
        expect_equals_reference(Case(37, 2500, bias), 17.0, std::nullopt, options);
        expect_equals_reference(Case(37, 2500, bias), 35.0, 0.0, options);
        expect_equals_reference(Case(37, 2500, bias), 35.0, 0.3, options);
        expect_equals_reference(Case(37, 2500, bias), 35.0, 1.0, options);
        expect_equals_reference(Case(8, 5, bias), 6.0, 0.7, options);
      }
    }
  }
}

TEST(LinearCrossEntropy, CapsLogits) {
  for (const bool kernels : {true, false}) {
    LossOptions options;
    options.use_kernels = kernels;
    options.softcap = 4.0;  // logits of size 10 are bent
    expect_equals_reference(Case(37, 2500, true), 17.0, std::nullopt, options);
    expect_equals_reference(Case(37, 2500, false), 35.0, 0.3, options);
  }
}

// Against autograd on the definition, value and gradient.
TEST(LinearCrossEntropy, Temperature) {
  for (const bool kernels : {true, false}) {
    for (const double temperature : {0.5, 3.0}) {
      LossOptions options;
      options.use_kernels = kernels;
      options.chunk_bytes = std::int64_t{16} * 4 * 2500;
      expect_equals_reference(Case(37, 2500, false), 17.0, 1.0, options, {.temperature = temperature});
      expect_equals_reference(Case(37, 2500, true), 35.0, 0.3, options, {.temperature = temperature});
      options.softcap = 4.0;
      expect_equals_reference(Case(37, 2500, false), 35.0, 0.7, options, {.temperature = temperature});
    }
  }
}

// Of the tokens that the teacher finds likely and of all others together.
TEST(LinearCrossEntropy, LargestLogitsOfTheTeacher) {
  for (const bool kernels : {true, false}) {
    for (const double temperature : {1.0, 2.0}) {
      for (const std::int64_t top_k : {1, 32, 1099}) {
        const Softness softness{temperature, top_k};
        LossOptions options;
        options.use_kernels = kernels;
        options.chunk_bytes = std::int64_t{16} * 4 * 1100;
        expect_equals_reference(Case(37, 1100, false), 17.0, 1.0, options, softness);
        expect_equals_reference(Case(37, 1100, true), 35.0, 0.3, options, softness);
        options.softcap = 4.0;
        expect_equals_reference(Case(37, 1100, false), 35.0, 0.7, options, softness);
      }
    }
  }
}

// Loss and gradient bit for bit those beside the teacher itself; fewer logits never make the divergence
// larger.
TEST(LinearCrossEntropy, AllLogitsAreTheTeacher) {
  const Case c(37, 2500, false);
  const Linear head = make_head(c.weight), teacher_head = make_head(c.teacher_weight);
  LossOptions options;
  options.chunk_bytes = std::int64_t{16} * 4 * 2500;
  const auto run = [&](const Distillation& distillation, LossSums* sums) {
    c.hidden.mutable_grad().reset();
    const at::Tensor loss = linear_cross_entropy(c.hidden, head, c.targets, options, distillation, sums);
    torch::autograd::backward({loss});
    return std::pair(loss, c.hidden.grad().clone());
  };
  for (const double temperature : {1.0, 2.0}) {
    LossSums with_teacher;
    const auto beside = run({c.teacher_hidden, &teacher_head, 0.5, temperature}, &with_teacher);
    double last = 0.0;
    for (const std::int64_t top_k : {1, 8, 64, 512, 2500}) {
      LossSums sums;
      const TeacherLogits kept = keep_logits(c.teacher_hidden, teacher_head, 0, top_k, temperature);
      const auto found = run({{}, nullptr, 0.5, temperature, parts_of(kept)}, &sums);
      EXPECT_GE(sums.divergence, last * (1 - kTolerance)) << top_k;
      last = sums.divergence;
      EXPECT_EQ(at::equal(found.first, beside.first), top_k == 2500) << top_k;
      EXPECT_EQ(at::equal(found.second, beside.second), top_k == 2500) << top_k;
    }
    EXPECT_EQ(last, with_teacher.divergence);
  }
}

// Central differences of the returned loss itself along random directions. The float32 loss of about 8 has
// steps of 5e-7; with h = 2e-2 and a slope of about 1, the quotient is good to 5e-5 plus the cubic term.
TEST(LinearCrossEntropy, GradientEqualsCentralDifferences) {
  const Case c(12, 300, false);
  const Linear head = make_head(c.weight), teacher_head = make_head(c.teacher_weight);
  const Distillation distillation{c.teacher_hidden, &teacher_head, 0.4};
  LossOptions options;
  options.divisor = 10.0;
  torch::autograd::backward({linear_cross_entropy(c.hidden, head, c.targets, options, distillation)});
  const at::NoGradGuard no_grad;
  for (int trial = 0; trial < 5; ++trial) {
    at::Tensor direction = at::randn(c.hidden.sizes());
    direction /= direction.norm();
    const double h = 2e-2;
    const auto at_offset = [&](double offset) {
      LossSums sums;
      linear_cross_entropy(c.hidden + direction * offset, head, c.targets, options, distillation, &sums);
      return (0.4 * sums.divergence + 0.6 * sums.cross_entropy) / 10.0;
    };
    const double slope = (at_offset(h) - at_offset(-h)) / (2 * h);
    EXPECT_NEAR(slope, (c.hidden.grad() * direction).sum().item<double>(), 2e-4);
  }
}

// Values without a gradient are the same values, and nothing of the graph is made.
TEST(LinearCrossEntropy, WithoutGradient) {
  const Case c(20, 700, false);
  const Linear head = make_head(c.weight), teacher_head = make_head(c.teacher_weight);
  const Distillation distillation{c.teacher_hidden, &teacher_head, 0.5};
  for (const bool kernels : {true, false}) {
    LossOptions options;
    options.use_kernels = kernels;
    const at::Tensor with = linear_cross_entropy(c.hidden, head, c.targets, options, distillation);
    const at::NoGradGuard no_grad;
    const at::Tensor without = linear_cross_entropy(c.hidden, head, c.targets, options, distillation);
    EXPECT_FALSE(without.requires_grad());
    EXPECT_NEAR(with.item<double>() / without.item<double>(), 1.0, 1e-6);
  }
}

// Micro-batches with the whole step's divisor add up to the step.
TEST(LinearCrossEntropy, MicroBatchesAddUp) {
  const Case c(40, 700, false);
  const Linear head = make_head(c.weight);
  LossOptions options;
  options.divisor = 38.0;
  const at::Tensor whole = linear_cross_entropy(c.hidden, head, c.targets, options);
  torch::autograd::backward({whole});
  const at::Tensor expected = c.hidden.grad().clone();
  c.hidden.mutable_grad().reset();
  double sum = 0.0;
  for (int part = 0; part < 4; ++part) {
    const at::Tensor loss = linear_cross_entropy(c.hidden.slice(0, 10 * part, 10 * part + 10), head,
                                                 c.targets.slice(0, 10 * part, 10 * part + 10), options);
    torch::autograd::backward({loss});
    sum += loss.item<double>();
  }
  EXPECT_NEAR(sum, whole.item<double>(), 1e-5);
  EXPECT_LT(error(c.hidden.grad(), expected), 1e-6);
}

// bfloat16 products round hidden, head, logits and dlogits to 8 bits: relative errors of 2^-9 each, about 1 %
// of the largest gradient.
TEST(LinearCrossEntropy, Bfloat16Products) {
  const Case c(16, 1500, false);
  const Linear head = make_head(c.weight, {}, ComputeType::bfloat16);
  LossOptions options;
  options.divisor = 14.0;
  const at::Tensor loss = linear_cross_entropy(c.hidden, head, c.targets, options);
  torch::autograd::backward({loss});
  const Reference expected = reference(c, 14.0, 0.0);
  EXPECT_NEAR(loss.item<double>() / expected.loss, 1.0, 5e-3);
  EXPECT_LT(error(c.hidden.grad(), expected.grad_hidden), 2e-2);
  EXPECT_GT(error(c.hidden.grad(), expected.grad_hidden), 1e-5);  // really the narrow type
}

// A head that is quantized comes with row scales; the same as its product in float.
class ScaledWeight final : public quant::WeightParametrization {
 public:
  ScaledWeight(at::Tensor values, at::Tensor scale) : values_(std::move(values)), scale_(std::move(scale)) {}
  std::int64_t out_features() const override { return values_.size(0); }
  std::int64_t in_features() const override { return values_.size(1); }
  at::Device device() const override { return values_.device(); }
  quant::WeightTile make_tile(std::int64_t begin, std::int64_t end, ComputeType) const override {
    return {values_.slice(0, begin, end), scale_.slice(0, begin, end)};
  }
  std::int64_t resident_bytes() const override { return 0; }

 private:
  at::Tensor values_, scale_;
};

TEST(LinearCrossEntropy, RowScaledHead) {
  const Case c(16, 1500, false);
  const at::Tensor codes = at::randint(-8, 8, {1500, 48}).to(at::kFloat), scale = at::rand({1500}) * 0.1;
  const Linear scaled("lm_head", std::make_shared<ScaledWeight>(codes, scale), {}, ComputeType::float32);
  const Linear plain = make_head(codes * scale.unsqueeze(1));
  LossOptions options;
  at::Tensor grads[2];
  double losses[2];
  for (int i = 0; i < 2; ++i) {
    const at::Tensor loss = linear_cross_entropy(c.hidden, i == 0 ? scaled : plain, c.targets, options);
    torch::autograd::backward({loss});
    losses[i] = loss.item<double>();
    grads[i] = c.hidden.grad().clone();
    c.hidden.mutable_grad().reset();
  }
  EXPECT_NEAR(losses[0] / losses[1], 1.0, kTolerance);
  EXPECT_LT(error(grads[0], grads[1]), kTolerance);
}

// Nothing hides a broken model: NaN and infinite logits come out as a loss that is not finite.
TEST(LinearCrossEntropy, NonFiniteLogitsAreNoticed) {
  for (const float bad : {NAN, INFINITY}) {
    Case c(6, 50, false);
    const Linear head = make_head(c.weight);
    const at::Tensor hidden = c.hidden.detach().clone();
    hidden[5][7] = bad;
    EXPECT_FALSE(std::isfinite(linear_cross_entropy(hidden, head, c.targets, {}).item<float>()));
  }
}

}  // namespace
}  // namespace lrqat::nn
