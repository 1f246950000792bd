// The Kullback-Leibler part of the loss of a chunk of tokens and its gradient by the student's logits, on top
// of the cross-entropy part (linear_cross_entropy.cpp). T tokens, V vocab_size, k tokens that are known of a
// teacher.
//
// At temperature τ, with q = softmax(teacher / τ) and p = softmax(student / τ), the divergence is τ² KL(q ‖
// p): its gradient by the student's logits, τ (p - q), keeps its size whatever τ is (Hinton et al., 2015).
// Where only k tokens of q and the mass of the others, q_rest, are known, it is that of k + 1 classes:
//   τ² (Σ_k q log(q / p) + q_rest log(q_rest / p_rest)),
// which is never more than the whole one, and its gradient by a logit of the rest τ p (1 - q_rest / p_rest).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lrqat/nn/teacher_logits.h"
#include "lrqat/ops/backend.h"

namespace lrqat::nn {

class DistilledRows {
 public:
  // student [T, V]: logits, float32, used as memory to work in; lse [T]: their log Σ exp; factor [T]: what a
  // token's loss is multiplied by.
  DistilledRows(const ops::Backend& backend, double weight, double temperature, const at::Tensor& student,
                const at::Tensor& lse, const at::Tensor& factor);

  // The teacher's logits [T, V], which are overwritten, and their log Σ exp [T].
  void set_teacher(at::Tensor logits, const at::Tensor& lse);
  void set_teacher(const TeacherLogits& known);

  // part, the student's logits of columns [begin, end), in their order <- factor · ((1 - weight) · softmax +
  // weight · gradient of the divergence): the gradient but for the one-hot part of the cross-entropy.
  void to_gradient(at::Tensor part, std::int64_t begin, std::int64_t end);
  // Instead, where there is no gradient.
  void measure();

  at::Tensor divergence() const;  // float64 [T]

 private:
  void prepare_known(const TeacherLogits& known);
  void sort_columns(const at::Tensor& ids, const at::Tensor& gradients);
  void put_known(at::Tensor part, std::int64_t begin, std::int64_t end);
  ops::TeacherRows teacher_rows(std::int64_t begin, std::int64_t end, double weight) const;
  bool tempered() const { return temperature_ != 1.0; }

  const ops::Backend& backend_;
  double weight_, temperature_;
  at::Tensor lse_, factor_;
  at::Tensor student_, student_lse_;  // logits / temperature [T, V] and their log Σ exp [T]
  at::Tensor teacher_, teacher_lse_;  // the same; undefined: only k tokens are known
  at::Tensor difference_;             // float64 [T]: Σ q (teacher - student)

  at::Tensor known_divergence_;  // float64 [T], of the k + 1 classes, without τ²
  at::Tensor rest_factor_;       // [T]: gradient of a logit of the rest / p
  // Of the k tokens of all rows, in the order of their columns, [T·k].
  at::Tensor known_rows_, known_columns_, known_gradients_;
  std::int64_t known_done_ = 0;  // of these
};

}  // namespace lrqat::nn
