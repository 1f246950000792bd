#include "lrqat/nn/distilled_rows.h"

#include <ATen/ATen.h>

#include <limits>
#include <tuple>

#include "lrqat/base/error.h"
#include "lrqat/nn/logit_tiles.h"

namespace lrqat::nn {

DistilledRows::DistilledRows(const ops::Backend& backend, double weight, double temperature,
                             const at::Tensor& student, const at::Tensor& lse, const at::Tensor& factor)
    : backend_(backend),
      weight_(weight),
      temperature_(temperature),
      lse_(lse),
      factor_(factor),
      student_(student),
      student_lse_(lse),
      difference_(at::zeros({student.size(0)}, student.options().dtype(at::kDouble))) {
  if (!tempered()) return;
  student_ = student / temperature;
  student_lse_ = log_sum_exp(student_, backend_);
}

void DistilledRows::set_teacher(at::Tensor logits, const at::Tensor& lse) {
  teacher_ = std::move(logits);
  teacher_lse_ = lse;
  if (!tempered()) return;
  teacher_.div_(temperature_);
  teacher_lse_ = log_sum_exp(teacher_, backend_);
}

void DistilledRows::set_teacher(const TeacherLogits& known) {
  if (known.ids.defined()) return prepare_known(known);
  set_teacher(known.values, tempered() ? at::Tensor() : log_sum_exp(known.values, backend_));
}

// Everything that concerns the k known tokens is worked out here, in numbers of size T·k.
void DistilledRows::prepare_known(const TeacherLogits& known) {
  const at::Tensor logits = student_.gather(1, known.ids);
  student_.scatter_(1, known.ids, -std::numeric_limits<float>::infinity());
  const at::Tensor lse_rest = log_sum_exp(student_, backend_);
  student_.scatter_(1, known.ids, logits);

  const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble); };
  const at::Tensor lse = wide(student_lse_);
  const at::Tensor log_p = wide(logits) - lse.unsqueeze(1), log_q = wide(known.values), q = log_q.exp();
  const at::Tensor log_p_rest = wide(lse_rest) - lse, log_q_rest = wide(known.rest);
  known_divergence_ = (q * (log_q - log_p)).sum(1) + log_q_rest.exp() * (log_q_rest - log_p_rest);

  // exp(80) is more than any ratio that trains something, and a float32.
  const at::Tensor ratio = (log_q_rest - log_p_rest).clamp_max(80.0).exp();
  const at::Tensor soft = wide(factor_) * (weight_ * temperature_), hard = wide(factor_) * (1.0 - weight_);
  const at::Tensor p = log_p.exp();
  at::Tensor gradients = soft.unsqueeze(1) * (p - q), rest = soft * (1.0 - ratio);
  if (!tempered()) {  // the softmax of the cross-entropy is the same
    gradients += hard.unsqueeze(1) * p;
    rest += hard;
  }
  rest_factor_ = rest.to(at::kFloat);
  sort_columns(known.ids, gradients.to(at::kFloat));
}

void DistilledRows::sort_columns(const at::Tensor& ids, const at::Tensor& gradients) {
  auto [columns, order] = ids.reshape({-1}).sort();
  known_columns_ = columns;
  known_rows_ = order.floor_divide(ids.size(1));
  known_gradients_ = gradients.reshape({-1}).index_select(0, order);
}

ops::TeacherRows DistilledRows::teacher_rows(std::int64_t begin, std::int64_t end, double weight) const {
  return {teacher_.slice(1, begin, end), teacher_lse_, weight};
}

// Tiles come in their order, so the next known tokens are those of this tile.
void DistilledRows::put_known(at::Tensor part, std::int64_t begin, std::int64_t end) {
  const std::int64_t first = known_done_;
  known_done_ = at::searchsorted(known_columns_, at::Scalar(end)).item<std::int64_t>();
  if (known_done_ == first) return;
  const auto now = [&](const at::Tensor& x) { return x.slice(0, first, known_done_); };
  part.index_put_({now(known_rows_), now(known_columns_) - begin}, now(known_gradients_));
}

void DistilledRows::to_gradient(at::Tensor part, std::int64_t begin, std::int64_t end) {
  at::Tensor soft = tempered() ? student_.slice(1, begin, end) : part;
  if (!teacher_.defined()) {
    backend_.to_softmax_gradient(soft, student_lse_, rest_factor_);
    put_known(soft, begin, end);
  } else if (!tempered()) {
    backend_.to_distilled_gradient(part, teacher_rows(begin, end, weight_), lse_, factor_, difference_);
  } else {
    backend_.to_distilled_gradient(soft, teacher_rows(begin, end, 1.0), student_lse_,
                                   factor_ * (weight_ * temperature_), difference_);
  }
  if (!tempered()) return;
  backend_.to_softmax_gradient(part, lse_, factor_ * (1.0 - weight_));
  part.add_(soft);
}

void DistilledRows::measure() {
  if (!teacher_.defined()) return;
  backend_.add_teacher_difference(student_, teacher_rows(0, student_.size(1), 1.0), difference_);
}

at::Tensor DistilledRows::divergence() const {
  const at::Tensor divergence =
      teacher_.defined() ? difference_ - teacher_lse_ + student_lse_ : known_divergence_;
  return tempered() ? divergence * (temperature_ * temperature_) : divergence;
}

}  // namespace lrqat::nn
