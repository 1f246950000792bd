#include "lrqat/nn/linear_cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/kernels/softmax_rows.h"
#include "lrqat/ops/block_product.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::nn {
namespace {

using ops::ComputeType;
using quant::WeightTile;

// Columns of a tile, of the vocabulary: on a CPU 4·1024 bytes a token stay in cache.
std::int64_t tile_columns(at::Device device) { return device.is_cpu() ? 1024 : 32768; }

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
        kernels_(in.options.use_kernels && hidden_.is_cpu()) {
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

  // A tile of the head: for block products where the head has them, else as a matrix operand.
  struct HeadTile {
    std::optional<ops::OperandSource> source;
    WeightTile operand;
  };

  template <typename Visit>
  void for_each_tile(const Linear& head, const Visit& visit) const {
    const auto source = head.operand_source();
    const std::int64_t step = tile_columns(hidden_.device());
    for (std::int64_t begin = 0; begin < vocabulary_; begin += step) {
      const std::int64_t end = std::min(begin + step, vocabulary_);
      HeadTile tile;
      if (source) {
        tile.source = source->rows(begin, end);
      } else {
        tile.operand = head.weight()->make_tile(begin, end, head.compute());
      }
      visit(begin, end, tile);
    }
  }

  // logits = hidden · headᵀ; returns log Σ exp of each row.
  at::Tensor make_logits(const at::Tensor& hidden, const Linear& head, const at::Tensor& logits) const {
    const bool narrow = head.compute() == ComputeType::bfloat16;
    const at::Tensor operand = narrow ? hidden.to(at::kBFloat16) : hidden;
    std::vector<kernels::RunningLogSumExp> running(kernels_ ? static_cast<std::size_t>(rows_) : 0);
    for_each_tile(head, [&](std::int64_t begin, std::int64_t end, const HeadTile& tile) {
      at::Tensor part = logits.slice(1, begin, end);
      if (tile.source) {
        ops::block_multiply_out(operand, *tile.source, part);
      } else {
        multiply(operand, tile.operand, part);
      }
      if (head.bias().defined()) part.add_(head.bias().slice(0, begin, end));
      if (cap() > 0) part.div_(cap()).tanh_().mul_(cap());
      if (kernels_) update(part, running);
    });
    if (!kernels_) return at::logsumexp(logits, 1);
    at::Tensor lse = at::empty({rows_}, logits.options());
    float* out = lse.data_ptr<float>();
    for (const kernels::RunningLogSumExp& row : running) *out++ = row.maximum + std::log(row.sum);
    return lse;
  }

  static void multiply(const at::Tensor& operand, const WeightTile& tile, at::Tensor& part) {
    if (operand.scalar_type() == at::kBFloat16) {
      part.copy_(at::mm(operand, tile.values.t()));
    } else {
      at::mm_out(part, operand, tile.values.t());
    }
    if (tile.row_scale.defined()) part.mul_(tile.row_scale);
  }

  void update(const at::Tensor& part, std::vector<kernels::RunningLogSumExp>& running) const {
    const float* data = part.data_ptr<float>();
    const std::int64_t stride = part.stride(0), columns = part.size(1);
    at::parallel_for(0, rows_, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row)
        kernels::update_log_sum_exp(data + row * stride, columns, running[static_cast<std::size_t>(row)]);
    });
  }

  // logits <- dloss/dlogits, tile by tile, and grad_hidden = dloss/dlogits · head. The one-hot part, a single
  // column a row, is put in before its tile is multiplied.
  void second_pass(const at::Tensor& index, at::Tensor grad_hidden) {
    const at::Tensor one_hot = factor_ * (1.0 - weight());
    if (!grad_hidden.defined()) {
      divergence_only();
      return;
    }
    for_each_tile(*in_.head, [&](std::int64_t begin, std::int64_t end, const HeadTile& tile) {
      at::Tensor part = logits_.slice(1, begin, end);
      // d(c·tanh(z/c))/dz = 1 - tanh²
      const at::Tensor slope = cap() > 0 ? 1 - (part / cap()).square_() : at::Tensor();
      make_gradient(part, begin, end);
      subtract_one_hot(part, index, one_hot, begin, end);
      if (slope.defined()) part.mul_(slope);
      if (in_.grad_head.defined()) in_.grad_head.slice(0, begin, end).addmm_(part.t(), hidden_);
      if (tile.source) {
        multiply_back(part, *tile.source, grad_hidden, begin == 0);
      } else {
        multiply_back(part, tile.operand, grad_hidden, begin == 0);
      }
    });
  }

  void make_gradient(at::Tensor& part, std::int64_t begin, std::int64_t end) {
    const at::Tensor teacher = distills() ? teacher_logits_.slice(1, begin, end) : at::Tensor();
    if (kernels_) {
      gradient_rows(part, teacher);
      return;
    }
    at::Tensor gradient = (part - lse_.unsqueeze(1)).exp_();
    if (distills()) {
      const at::Tensor probability = (teacher - lse_teacher_.unsqueeze(1)).exp_();
      difference_ += (probability * (teacher - part)).sum(1);
      gradient.sub_(probability, weight());
    }
    part.copy_(gradient.mul_(factor_.unsqueeze(1)));
  }

  void gradient_rows(at::Tensor& part, const at::Tensor& teacher) {
    float* z = part.data_ptr<float>();
    const float* t = teacher.defined() ? teacher.data_ptr<float>() : nullptr;
    const float *lse = lse_.data_ptr<float>(), *factor = factor_.data_ptr<float>();
    const float* lse_teacher = t != nullptr ? lse_teacher_.data_ptr<float>() : nullptr;
    double* difference = difference_.data_ptr<double>();
    const std::int64_t stride = logits_.stride(0), columns = part.size(1);
    const auto weight = static_cast<float>(this->weight());
    at::parallel_for(0, rows_, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        if (t == nullptr) {
          kernels::softmax_gradient(z + i * stride, columns, lse[i], factor[i]);
        } else {
          difference[i] += kernels::distilled_gradient(z + i * stride, t + i * stride, columns, lse[i],
                                                       lse_teacher[i], factor[i], weight);
        }
      }
    });
  }

  void subtract_one_hot(at::Tensor& part, const at::Tensor& index, const at::Tensor& one_hot,
                        std::int64_t begin, std::int64_t end) const {
    if (!kernels_) {
      const at::Tensor inside = (index >= begin).logical_and_(index < end);
      const at::Tensor value = one_hot.unsqueeze(1).masked_fill(~inside, 0.0);
      part.scatter_add_(1, (index - begin).clamp(0, end - begin - 1), -value);
      return;
    }
    const std::int64_t* column = index.data_ptr<std::int64_t>();
    const float* value = one_hot.data_ptr<float>();
    float* z = part.data_ptr<float>();
    for (std::int64_t row = 0; row < rows_; ++row) {
      if (column[row] >= begin && column[row] < end)
        z[row * part.stride(0) + column[row] - begin] -= value[row];
    }
  }

  void multiply_back(at::Tensor part, const ops::OperandSource& tile, at::Tensor& grad_hidden,
                     bool first) const {
    if (in_.head->compute() == ComputeType::bfloat16) {
      if (tile.row_scale.defined()) part.mul_(tile.row_scale);
      part = part.to(at::kBFloat16);
    }
    ops::block_multiply_transposed_out(part, tile, grad_hidden, !first, nullptr);
  }

  void multiply_back(at::Tensor part, const WeightTile& tile, at::Tensor& grad_hidden, bool first) const {
    if (tile.row_scale.defined()) part.mul_(tile.row_scale);
    if (tile.values.scalar_type() == at::kBFloat16) {
      const at::Tensor product = at::mm(part.to(at::kBFloat16), tile.values);
      first ? grad_hidden.copy_(product) : grad_hidden.add_(product);
    } else if (first) {
      at::mm_out(grad_hidden, part, tile.values);
    } else {
      grad_hidden.addmm_(part, tile.values);
    }
  }

  // Only the value of the divergence is wanted.
  void divergence_only() {
    if (!kernels_) {
      const at::Tensor probability = (teacher_logits_ - lse_teacher_.unsqueeze(1)).exp_();
      difference_ += (probability * (teacher_logits_ - logits_)).sum(1);
      return;
    }
    const float *z = logits_.data_ptr<float>(), *t = teacher_logits_.data_ptr<float>();
    const float* lse_teacher = lse_teacher_.data_ptr<float>();
    double* difference = difference_.data_ptr<double>();
    at::parallel_for(0, rows_, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        difference[i] += kernels::teacher_weighted_difference(
            z + i * logits_.stride(0), t + i * logits_.stride(0), vocabulary_, lse_teacher[i]);
      }
    });
  }

  const Inputs& in_;
  at::Tensor hidden_, targets_, logits_;
  at::Tensor teacher_hidden_, teacher_logits_;
  std::int64_t rows_;
  std::int64_t vocabulary_;
  bool kernels_;
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
  const std::int64_t more = hidden.is_cpu() ? 1 : 16;  // elsewhere launches cost more than memory
  const std::int64_t step = chunk_tokens(tokens, vocabulary, more * in.options.chunk_bytes);
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
