#include "lrqat/nn/linear_cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/ignore_index.h"
#include "lrqat/ops/backend.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::nn {
namespace {

struct Inputs {
  const Linear* head;
  at::Tensor targets;
  LossOptions options;
  std::optional<Distillation> distillation;
  bool with_gradient;
  at::Tensor grad_head;  // [V, H], added to; undefined: the head is frozen
};

// One chunk of tokens. Two passes over the tiles of the head: the first makes logits and their log Σ exp, the
// second turns the logits into gradients in place and multiplies them back.
class Chunk {
 public:
  Chunk(const Inputs& in, at::Tensor hidden, at::Tensor targets, at::Tensor logits)
      : in_(in),
        hidden_(std::move(hidden)),
        targets_(std::move(targets)),
        logits_(std::move(logits)),
        rows_(hidden_.size(0)),
        vocabulary_(in.head->out_features()),
        backend_(in.options.use_kernels ? ops::backend_of(hidden_) : ops::plain_backend()) {
    const at::Tensor scored = targets_ != kIgnoreIndex;
    factor_ = scored.to(at::kFloat) / in.options.divisor;
  }

  void set_teacher(at::Tensor hidden, at::Tensor logits) {
    teacher_hidden_ = std::move(hidden);
    teacher_logits_ = std::move(logits);
  }

  // Adds to `sums`; writes the gradient of hidden to grad_hidden where that is defined.
  void run(at::Tensor grad_hidden, LossSums& sums) {
    lse_ = make_logits(hidden_, *in_.head, logits_);
    if (distills()) lse_teacher_ = make_logits(teacher_hidden_, *in_.distillation->head, teacher_logits_);
    const at::Tensor scored = targets_ != kIgnoreIndex;
    const at::Tensor index = targets_.clamp_min(0).unsqueeze(1);
    const at::Tensor losses = (lse_ - logits_.gather(1, index).squeeze(1)).to(at::kDouble);
    sums.cross_entropy += losses.masked_fill(~scored, 0.0).sum().item<double>();
    sums.tokens += scored.sum().item<std::int64_t>();
    difference_ = at::zeros({rows_}, losses.options());
    if (grad_hidden.defined() || distills()) second_pass(index, grad_hidden);
    if (distills()) {
      const at::Tensor divergence = difference_ - lse_teacher_ + lse_;
      sums.divergence += divergence.masked_fill(~scored, 0.0).sum().item<double>();
    }
  }

 private:
  bool distills() const { return teacher_hidden_.defined(); }
  double cap() const { return in_.options.softcap; }
  double weight() const { return distills() ? in_.distillation->weight : 0.0; }

  // Visits the tiles of the head: its rows [begin, end), columns of the logits.
  template <typename Visit>
  void for_each_tile(const Linear& head, const Visit& visit) const {
    const ops::WeightOperand operand(*head.weight(), head.compute());
    const std::int64_t step = ops::backend_of(hidden_).logit_tile_columns();
    for (std::int64_t begin = 0; begin < vocabulary_; begin += step) {
      const std::int64_t end = std::min(begin + step, vocabulary_);
      visit(begin, end, operand.rows(begin, end));
    }
  }

  // logits = hidden · headᵀ; returns log Σ exp of each row.
  at::Tensor make_logits(const at::Tensor& hidden, const Linear& head, const at::Tensor& logits) const {
    const at::Tensor operand = ops::in_compute_type(hidden, head.compute());
    const auto sums = backend_.row_log_sum_exp(rows_);
    for_each_tile(head, [&](std::int64_t begin, std::int64_t end, const ops::OperandRows& tile) {
      at::Tensor part = logits.slice(1, begin, end);
      tile.multiply(operand, part);
      if (head.bias().defined()) part.add_(head.bias().slice(0, begin, end));
      if (cap() > 0) part.div_(cap()).tanh_().mul_(cap());
      sums->add(part);
    });
    return sums->result(logits);
  }

  // logits <- dloss/dlogits, tile by tile, and grad_hidden = dloss/dlogits · head. The one-hot part, a single
  // column a row, is put in before its tile is multiplied.
  void second_pass(const at::Tensor& index, at::Tensor grad_hidden) {
    const at::Tensor one_hot = factor_ * (1.0 - weight());
    if (!grad_hidden.defined()) {
      backend_.add_teacher_difference(logits_, teacher_rows(0, vocabulary_), difference_);
      return;
    }
    for_each_tile(*in_.head, [&](std::int64_t begin, std::int64_t end, const ops::OperandRows& tile) {
      at::Tensor part = logits_.slice(1, begin, end);
      // d(c·tanh(z/c))/dz = 1 - tanh²
      const at::Tensor slope = cap() > 0 ? 1 - (part / cap()).square_() : at::Tensor();
      make_gradient(part, begin, end);
      backend_.subtract_one_hot(part, index, begin, one_hot);
      if (slope.defined()) part.mul_(slope);
      if (in_.grad_head.defined()) in_.grad_head.slice(0, begin, end).addmm_(part.t(), hidden_);
      tile.multiply_transposed(part, grad_hidden, /*add=*/begin > 0);
    });
  }

  ops::TeacherRows teacher_rows(std::int64_t begin, std::int64_t end) const {
    return {teacher_logits_.slice(1, begin, end), lse_teacher_, weight()};
  }

  void make_gradient(const at::Tensor& part, std::int64_t begin, std::int64_t end) const {
    if (distills()) {
      backend_.to_distilled_gradient(part, teacher_rows(begin, end), lse_, factor_, difference_);
    } else {
      backend_.to_softmax_gradient(part, lse_, factor_);
    }
  }

  const Inputs& in_;
  at::Tensor hidden_, targets_, logits_;
  at::Tensor teacher_hidden_, teacher_logits_;
  std::int64_t rows_;
  std::int64_t vocabulary_;
  const ops::Backend& backend_;
  at::Tensor factor_;             // [rows] 1/divisor, 0 where the token is not scored
  at::Tensor lse_, lse_teacher_;  // [rows]
  at::Tensor difference_;         // [rows] float64: Σ p_teacher (t - z)
};

// Tokens a chunk: as many as chunk_bytes hold, and all chunks of about the same size.
std::int64_t chunk_tokens(std::int64_t tokens, std::int64_t vocabulary, std::int64_t bytes) {
  const std::int64_t most = std::max<std::int64_t>(bytes / (4 * vocabulary), 16);
  const std::int64_t chunks = (tokens + most - 1) / most;
  return (tokens + chunks - 1) / chunks;
}

// Loss (a double) and gradient of all chunks.
double run_chunks(const Inputs& in, const at::Tensor& hidden, at::Tensor grad_hidden, LossSums* sums) {
  const std::int64_t tokens = hidden.size(0), vocabulary = in.head->out_features();
  const std::int64_t step =
      chunk_tokens(tokens, vocabulary, ops::backend_of(hidden).logit_bytes(in.options.chunk_bytes));
  const at::Tensor logits = at::empty({step, vocabulary}, hidden.options());
  const at::Tensor teacher_logits = in.distillation ? at::empty_like(logits) : at::Tensor();
  LossSums own;
  for (std::int64_t begin = 0; begin < tokens; begin += step) {
    const std::int64_t end = std::min(begin + step, tokens);
    Chunk chunk(in, hidden.slice(0, begin, end), in.targets.slice(0, begin, end),
                logits.slice(0, 0, end - begin));
    if (in.distillation)
      chunk.set_teacher(in.distillation->hidden.slice(0, begin, end),
                        teacher_logits.slice(0, 0, end - begin));
    chunk.run(grad_hidden.defined() ? grad_hidden.slice(0, begin, end) : at::Tensor(), own);
  }
  if (sums != nullptr) {
    sums->cross_entropy += own.cross_entropy;
    sums->divergence += own.divergence;
    sums->tokens += own.tokens;
  }
  const double weight = in.distillation ? in.distillation->weight : 0.0;
  return (weight * own.divergence + (1.0 - weight) * own.cross_entropy) / in.options.divisor;
}

class LossFunction : public torch::autograd::Function<LossFunction> {
 public:
  // head: the weight of a head that is trained, or nothing.
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden,
                            at::TensorList head, Inputs in, LossSums* sums) {
    RECORD_USER_SCOPE("head and loss");
    const at::Tensor rows = hidden.contiguous();
    at::Tensor grad_hidden;
    if (in.with_gradient) grad_hidden = at::empty_like(rows);
    if (in.with_gradient && !head.empty()) in.grad_head = at::zeros_like(head[0]);
    const double loss = run_chunks(in, rows, grad_hidden, sums);
    torch::autograd::variable_list saved{grad_hidden};
    if (in.grad_head.defined()) saved.push_back(in.grad_head);
    if (in.with_gradient) context->save_for_backward(saved);
    return at::full({}, loss, hidden.options());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    // In place: a head that is trained has a gradient of the vocabulary's size, and nobody asks for it twice.
    torch::autograd::variable_list result = context->get_saved_variables();
    for (at::Tensor& gradient : result) gradient.mul_(grads[0]);
    result.resize(result.size() + 2);  // inputs and sums have none
    return result;
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const Linear& head, const at::Tensor& targets,
                                const LossOptions& options, const std::optional<Distillation>& distillation,
                                LossSums* sums) {
  LRQAT_CHECK(hidden.dim() == 2 && hidden.size(1) == head.in_features());
  LRQAT_CHECK(targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kLong);
  LRQAT_CHECK(options.divisor > 0 && hidden.scalar_type() == at::kFloat);
  if (distillation) {
    LRQAT_CHECK(distillation->hidden.size(0) == hidden.size(0));
    LRQAT_CHECK(distillation->head->out_features() == head.out_features());
  }
  std::vector<at::Tensor> trained;
  if (const at::Tensor plain = head.weight()->float_storage(); plain.defined() && plain.requires_grad()) {
    trained.push_back(plain);
  }
  const bool with_gradient = (hidden.requires_grad() || !trained.empty()) && at::GradMode::is_enabled();
  const Inputs in{&head, targets.contiguous(), options, distillation, with_gradient, {}};
  return LossFunction::apply(hidden, at::TensorList(trained), in, sums);
}

}  // namespace lrqat::nn
