// The CPU: plain loops (lrqat/kernels) and products over blocks. Each operation is defined in the file of its
// header (norm_rows.cpp, low_rank_tile.cpp, …).
#pragma once

#include "lrqat/ops/backend.h"

namespace lrqat::ops {

class CpuBackend final : public Backend {
 public:
  std::int64_t tile_rows(std::int64_t in_features) const override;
  std::int64_t logit_tile_columns() const override;
  std::int64_t logit_bytes(std::int64_t bytes) const override;

  at::Tensor to_bfloat16(const at::Tensor& x) const override;
  std::shared_ptr<const StoredOperand> stored_operand(const StoredWeight& weight,
                                                      ComputeType compute) const override;
  TileTensors low_rank_tile(const StoredWeight& weight, const TileOutputs& wanted) const override;
  at::Tensor low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                    const at::Tensor& grad_weight) const override;
  void add_low_rank_rows(const at::Tensor& values, const at::Tensor& a, const at::Tensor& lora_b,
                         double lora_scaling) const override;
  GradientRowsOf gradient_rows(const LinearGradient& linear) const override;
  std::optional<LowRankGradient> low_rank_gradient(const StoredWeight& weight, const LinearGradient& linear,
                                                   std::int64_t most_clipped, bool with_scale) const override;
  std::optional<LowRankGradient> blockwise_gradient(const StoredWeight& weight,
                                                    const LinearGradient& linear) const override;
  LowRankGradient adapter_gradient(const LinearGradient& linear, const at::Tensor& lora_a,
                                   const at::Tensor& lora_b) const override;
  void round_learned(const LearnedRounding& state, std::int64_t row_begin, std::int64_t row_end,
                     const at::Tensor& out) const override;
  void step_rounding(const LearnedRounding& state, const LinearGradient& linear, double step,
                     const at::Tensor& grad_scale, const at::Tensor& grad_zero_point) const override;

  at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              std::int64_t window, double softcap, ComputeType compute) const override;
  NormedRows rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) const override;
  at::Tensor rms_norm_input_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                     const at::Tensor& r) const override;
  at::Tensor rotate_heads(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                          bool inverse) const override;
  at::Tensor gated(GateFunction function, const at::Tensor& gate, const at::Tensor& up) const override;
  GateGradients gate_gradients(GateFunction function, const at::Tensor& grad, const at::Tensor& gate,
                               const at::Tensor& up) const override;
  at::Tensor quantized_tokens(const at::Tensor& x, int num_bits, at::Tensor* mask) const override;

  std::unique_ptr<RowLogSumExp> row_log_sum_exp(std::int64_t rows) const override;
  void to_softmax_gradient(at::Tensor tile, const at::Tensor& lse, const at::Tensor& factor) const override;
  void to_distilled_gradient(at::Tensor tile, const TeacherRows& teacher, const at::Tensor& lse,
                             const at::Tensor& factor, at::Tensor difference) const override;
  void add_teacher_difference(const at::Tensor& tile, const TeacherRows& teacher,
                              at::Tensor difference) const override;
  void subtract_one_hot(at::Tensor tile, const at::Tensor& column, std::int64_t first_column,
                        const at::Tensor& value) const override;
  TargetScores score_targets(const at::Tensor& logits, const at::Tensor& targets) const override;

  bool has_fused_adamw() const override { return true; }

  at::Tensor hadamard_rows(const at::Tensor& x, bool transposed) const override;
};

const Backend& cpu_backend();

}  // namespace lrqat::ops
