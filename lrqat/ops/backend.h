// What differs between devices: one Backend a type of device. The base class is every operation in ATen's own
// operations, which run on any device; a device with something faster overrides what it has, in a file of its
// own, and is a row of backend.cpp. Code outside of this folder calls the functions of the same names, whose
// headers say what they do.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "lrqat/ops/gate.h"
#include "lrqat/ops/learned_rounding.h"
#include "lrqat/ops/loss_rows.h"
#include "lrqat/ops/low_rank_gradient.h"
#include "lrqat/ops/low_rank_tile.h"
#include "lrqat/ops/norm_rows.h"
#include "lrqat/ops/products.h"
#include "lrqat/ops/target_scores.h"

namespace lrqat::ops {

// Rows [begin, end) of dL/dŴ, float32.
using GradientRowsOf = std::function<at::Tensor(std::int64_t begin, std::int64_t end)>;

// T tokens, V vocab_size, N out_features, K in_features.
class Backend {
 public:
  virtual ~Backend() = default;

  // --- sizes: how much one operation should work on
  virtual std::int64_t tile_rows(std::int64_t in_features) const;
  virtual std::int64_t logit_tile_columns() const;
  // Bytes of logits at a time, of `bytes` that suit a CPU.
  virtual std::int64_t logit_bytes(std::int64_t bytes) const;

  // --- a linear layer. Null where there is nothing better than at::mm over tiles.
  virtual at::Tensor to_bfloat16(const at::Tensor& x) const;
  virtual std::shared_ptr<const StoredOperand> stored_operand(const StoredWeight& weight,
                                                              ComputeType compute) const;
  virtual TileTensors low_rank_tile(const StoredWeight& weight, const TileOutputs& wanted) const;
  virtual at::Tensor low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                            const at::Tensor& grad_weight) const;
  virtual void add_low_rank_rows(const at::Tensor& values, const at::Tensor& a, const at::Tensor& lora_b,
                                 double lora_scaling) const;  // a: the rows of lora_a
  virtual GradientRowsOf gradient_rows(const LinearGradient& linear) const;
  virtual std::optional<LowRankGradient> low_rank_gradient(const StoredWeight& weight,
                                                           const LinearGradient& linear,
                                                           std::int64_t most_clipped, bool with_scale) const;
  virtual std::optional<LowRankGradient> blockwise_gradient(const StoredWeight& weight,
                                                            const LinearGradient& linear) const;
  virtual LowRankGradient adapter_gradient(const LinearGradient& linear, const at::Tensor& lora_a,
                                           const at::Tensor& lora_b) const;

  virtual void round_learned(const LearnedRounding& state, std::int64_t row_begin, std::int64_t row_end,
                             const at::Tensor& out) const;
  virtual void step_rounding(const LearnedRounding& state, const LinearGradient& linear, double step,
                             const at::Tensor& grad_scale, const at::Tensor& grad_zero_point) const;

  // --- the layers between
  virtual at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      std::int64_t window, double softcap, ComputeType compute) const;
  virtual NormedRows rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) const;
  virtual at::Tensor rms_norm_input_gradient(const at::Tensor& grad, const at::Tensor& x,
                                             const at::Tensor& weight, const at::Tensor& r) const;
  virtual at::Tensor rotate_heads(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                                  bool inverse) const;
  virtual at::Tensor gated(GateFunction function, const at::Tensor& gate, const at::Tensor& up) const;
  virtual GateGradients gate_gradients(GateFunction function, const at::Tensor& grad, const at::Tensor& gate,
                                       const at::Tensor& up) const;
  virtual at::Tensor quantized_tokens(const at::Tensor& x, int num_bits, at::Tensor* mask) const;

  // --- softmax losses on logits, a tile of columns at a time: float32 [T, columns] with adjacent columns,
  // which may be strided views
  virtual std::unique_ptr<RowLogSumExp> row_log_sum_exp(std::int64_t rows) const;
  // The gradient of the cross-entropy but for its one-hot part: tile <- factor · p, p = exp(tile - lse). lse
  // and factor float32 [T].
  virtual void to_softmax_gradient(at::Tensor tile, const at::Tensor& lse, const at::Tensor& factor) const;
  // tile <- factor · (p - weight · p_teacher). difference, float64 [T], += Σ p_teacher (teacher - tile).
  virtual void to_distilled_gradient(at::Tensor tile, const TeacherRows& teacher, const at::Tensor& lse,
                                     const at::Tensor& factor, at::Tensor difference) const;
  // The sum alone.
  virtual void add_teacher_difference(const at::Tensor& tile, const TeacherRows& teacher,
                                      at::Tensor difference) const;
  // tile[t, column[t] - first_column] -= value[t] where the column is in the tile. column int64 [T, 1], value
  // float32 [T].
  virtual void subtract_one_hot(at::Tensor tile, const at::Tensor& column, std::int64_t first_column,
                                const at::Tensor& value) const;
  virtual TargetScores score_targets(const at::Tensor& logits, const at::Tensor& targets) const;

  // --- the optimiser
  virtual bool has_fused_adamw() const;  // whether at::_fused_adamw_ takes the device

  // --- rotations
  virtual at::Tensor hadamard_rows(const at::Tensor& x, bool transposed) const;
};

// Of the device's type; the plain one where there is no row for it.
const Backend& backend_of(at::Device device);
inline const Backend& backend_of(const at::Tensor& tensor) { return backend_of(tensor.device()); }
// The base class: ATen's operations alone, on any device.
const Backend& plain_backend();

// Adds a row, or replaces one, at the start of a program. `backend` must stay.
void add_backend(at::DeviceType type, const Backend& backend);

}  // namespace lrqat::ops
