// One micro-batch forward and backward: student through its blocks (checkpointed or kept), loss in the head,
// the teacher's logits beside it. B sequences, L sequence length, T = B·(L-1) scored tokens, H hidden size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/nn/linear_cross_entropy.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/teacher_cache.h"

namespace lrqat::train {

// What is kept from forward to backward besides the inputs of all blocks.
struct KeptActivations {
  std::int64_t blocks = 0;    // so many of the last blocks keep everything; the others are recomputed
  std::int64_t products = 0;  // so many of the last of those others keep the output of down_proj
};

struct StepOptions {
  double distill_weight = 0.0;  // w of w·KL + (1 - w)·cross-entropy; above 0 a teacher is needed
  KeptActivations kept;
  double temperature = 1.0;  // of the KL (nn/linear_cross_entropy.h)
};

// What is learned from: a model that runs beside the student, or what a cache has kept of one; or nothing.
// Either stays the caller's.
struct Teacher {
  Teacher() = default;
  Teacher(const model::Decoder* running) : model(running) {}
  Teacher(const TeacherCache* kept) : cache(kept) {}
  Teacher(std::nullptr_t) {}

  bool exists() const { return model != nullptr || cache != nullptr; }

  const model::Decoder* model = nullptr;
  const TeacherCache* cache = nullptr;
};

class TrainStep {
 public:
  // `teacher` may be none where distill_weight is 0. A cache needs the temperature that it was made for, and
  // every sequence that is learned or measured.
  TrainStep(const model::Decoder& student, const Teacher& teacher, const StepOptions& options);

  // Adds the gradients of the loss on tokens [B, L] to the parameters' grad() and returns the sums over its
  // scored tokens. divisor: scored tokens of the whole optimiser step.
  nn::LossSums accumulate(const at::Tensor& tokens, double divisor) const {
    return accumulate(tokens, tokens, divisor);
  }
  // targets [B, L]: the tokens, or kIgnoreIndex where the token is not to be predicted.
  nn::LossSums accumulate(const at::Tensor& tokens, const at::Tensor& targets, double divisor) const;

  // The sums over a whole text, or over these sequences of it, without gradients, scored as in training.
  nn::LossSums measure(const PackedDataset& text, ProgressReporter& progress) const;
  nn::LossSums measure(const PackedDataset& text, std::span<const std::int64_t> sequences,
                       ProgressReporter& progress) const;

  // The loss of an optimiser step from its sums.
  double loss(const nn::LossSums& sums) const;

 private:
  at::Tensor student_hidden(const at::Tensor& tokens) const;
  std::optional<nn::Distillation> distillation(const at::Tensor& tokens) const;

  const model::Decoder& student_;
  Teacher teacher_;
  StepOptions options_;
};

// Bytes that one block keeps for backward, a token: operands and outputs of its linears, norms, rotated
// heads, attention; tensors that share memory are counted once.
std::int64_t kept_bytes_per_token(const model::Decoder& decoder);

// What fits into `budget` bytes for `tokens` tokens at once. First products of down_proj: 4·H bytes a token
// save intermediate_size·H multiplications, more a byte than anything else; then whole blocks. There is
// always room for the one block that is being recomputed.
KeptActivations kept_within(const model::Decoder& decoder, std::int64_t budget, std::int64_t tokens);

// Bytes of activations that a micro-batch of the recipe holds at its peak: what is kept, one block more that
// runs or is recomputed, and the inputs of all blocks.
double activation_bytes(const Recipe& recipe, const model::Decoder& decoder, const KeptActivations& kept);

// Of a recipe, or half of what the system has available.
std::int64_t memory_budget(const Recipe& recipe);
// What a recipe keeps: all blocks, nothing, or what its memory budget (or half of the free memory) holds.
KeptActivations kept_activations(const Recipe& recipe, const model::Decoder& student);

}  // namespace lrqat::train
