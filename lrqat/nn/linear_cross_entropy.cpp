#include "lrqat/nn/linear_cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/ignore_index.h"
#include "lrqat/nn/distilled_rows.h"
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
        backend_(backend(in, hidden_)) {
    const at::Tensor scored = targets_ != kIgnoreIndex;
    factor_ = scored.to(at::kFloat) / in.options.divisor;
  }

  static const ops::Backend& backend(const Inputs& in, const at::Tensor& hidden) {
    return in.options.use_kernels ? ops::backend_of(hidden) : ops::plain_backend();
  }

  // Adds to `sums`; writes the gradient of hidden to grad_hidden where that is defined. set_teacher: gives
  // the teacher's logits of the chunk, where there is distillation.
  void run(at::Tensor grad_hidden, LossSums& sums, const std::function<void(DistilledRows&)>& set_teacher) {
    lse_ = fill_logits(hidden_, *in_.head, cap(), backend_, logits_);
    const at::Tensor scored = targets_ != kIgnoreIndex;
    const at::Tensor index = targets_.clamp_min(0).unsqueeze(1);
    const at::Tensor losses = (lse_ - logits_.gather(1, index).squeeze(1)).to(at::kDouble);
    sums.cross_entropy += losses.masked_fill(~scored, 0.0).sum().item<double>();
    sums.tokens += scored.sum().item<std::int64_t>();
    if (in_.distillation) {
      distilled_.emplace(backend_, in_.distillation->weight, in_.distillation->temperature, logits_, lse_,
                         factor_);
      set_teacher(*distilled_);
    }
    if (grad_hidden.defined()) {
      second_pass(index, grad_hidden);
    } else if (distilled_) {
      distilled_->measure();
    }
    if (distilled_)
      sums.divergence += distilled_->divergence().masked_fill(~scored, 0.0).sum().item<double>();
  }

 private:
  double cap() const { return in_.options.softcap; }
  double weight() const { return in_.distillation ? in_.distillation->weight : 0.0; }

  // logits <- dloss/dlogits, tile by tile, and grad_hidden = dloss/dlogits · head. The one-hot part, a single
  // column a row, is put in before its tile is multiplied.
  void second_pass(const at::Tensor& index, at::Tensor grad_hidden) {
    const at::Tensor one_hot = factor_ * (1.0 - weight());
    for_each_head_tile(*in_.head, hidden_.device(),
                       [&](std::int64_t begin, std::int64_t end, const ops::OperandRows& tile) {
                         at::Tensor part = logits_.slice(1, begin, end);
                         // d(c·tanh(z/c))/dz = 1 - tanh²
                         const at::Tensor slope = cap() > 0 ? 1 - (part / cap()).square_() : at::Tensor();
                         if (distilled_) {
                           distilled_->to_gradient(part, begin, end);
                         } else {
                           backend_.to_softmax_gradient(part, lse_, factor_);
                         }
                         backend_.subtract_one_hot(part, index, begin, one_hot);
                         if (slope.defined()) part.mul_(slope);
                         if (in_.grad_head.defined())
                           in_.grad_head.slice(0, begin, end).addmm_(part.t(), hidden_);
                         tile.multiply_transposed(part, grad_hidden, /*add=*/begin > 0);
                       });
  }

  const Inputs& in_;
  at::Tensor hidden_, targets_, logits_;
  const ops::Backend& backend_;
  at::Tensor factor_;  // [rows] 1/divisor, 0 where the token is not scored
  at::Tensor lse_;     // [rows]
  std::optional<DistilledRows> distilled_;
};

// Gives the teacher's logits of tokens [begin, end). `logits` [rows, V] is memory for them.
void set_teacher(const Inputs& in, std::int64_t begin, std::int64_t end, const at::Tensor& logits,
                 DistilledRows& rows) {
  const Distillation& distillation = *in.distillation;
  if (distillation.known) return rows.set_teacher(distillation.known(begin, end));
  const at::Tensor hidden = distillation.hidden.slice(0, begin, end), part = logits.slice(0, 0, end - begin);
  const ops::Backend& backend = Chunk::backend(in, hidden);
  rows.set_teacher(part, fill_logits(hidden, *distillation.head, in.options.softcap, backend, part));
}

// Loss (a double) and gradient of all chunks.
double run_chunks(const Inputs& in, const at::Tensor& hidden, at::Tensor grad_hidden, LossSums* sums) {
  const std::int64_t tokens = hidden.size(0), vocabulary = in.head->out_features();
  const std::int64_t step =
      chunk_tokens(tokens, vocabulary, ops::backend_of(hidden).logit_bytes(in.options.chunk_bytes));
  const at::Tensor logits = at::empty({step, vocabulary}, hidden.options());
  const at::Tensor of_teacher =
      in.distillation && !in.distillation->known ? at::empty_like(logits) : at::Tensor();
  LossSums own;
  for (std::int64_t begin = 0; begin < tokens; begin += step) {
    const std::int64_t end = std::min(begin + step, tokens);
    Chunk chunk(in, hidden.slice(0, begin, end), in.targets.slice(0, begin, end),
                logits.slice(0, 0, end - begin));
    chunk.run(grad_hidden.defined() ? grad_hidden.slice(0, begin, end) : at::Tensor(), own,
              [&](DistilledRows& rows) { set_teacher(in, begin, end, of_teacher, rows); });
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
  if (distillation && !distillation->known) {
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
