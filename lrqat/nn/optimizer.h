// AdamW (decoupled weight decay, bias correction) over a list of parameters, its state and the clipping of
// gradients; ops/adamw_update.h has the update itself. Gradients are read from parameter.grad().
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lrqat::nn {

// A tensor to train, and how fast.
struct TrainedParameter {
  std::string name;  // full: "model.layers.0.mlp.up_proj.lora_a"
  at::Tensor value;  // float32 leaf
  double lr = 1e-3;
  double weight_decay = 0.0;
  int clip_group = 0;  // gradients of one group are clipped by their common norm
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  bool fused = true;           // false: the plain form, a few ATen operations a parameter
  bool clip_together = false;  // true: one gradient norm over all groups
};

class AdamW {
 public:
  AdamW(std::vector<TrainedParameter> parameters, const AdamWOptions& options);

  // One step with every parameter's lr times lr_factor. Parameters without a gradient stay.
  void step(double lr_factor);
  void zero_grad();  // gradients become undefined
  // The gradients of each clip group are scaled by max_norm / (norm + 1e-6) where that is below 1, norm being
  // the group's own, in float64 (clip_together: that of all gradients). max_norm 0: no clipping. Returns the
  // norm of all gradients before clipping (not finite where any gradient is not).
  double clip_grad_norm(double max_norm);

  // State for a checkpoint, in the order of the parameters: "<parameter>.exp_avg", "<parameter>.exp_avg_sq"
  // (like the parameter) and "<parameter>.step" (float32 [1]). The optimiser's own tensors, no copies.
  std::vector<std::pair<std::string, at::Tensor>> state() const;
  // Copied into the optimiser's own. Error naming the tensor that is missing or of another shape.
  void load_state(const std::vector<std::pair<std::string, at::Tensor>>& state);

  const std::vector<TrainedParameter>& parameters() const { return parameters_; }
  std::int64_t state_bytes() const;

 private:
  struct State {
    at::Tensor exp_avg, exp_avg_sq, step;
  };
  std::vector<TrainedParameter> parameters_;
  AdamWOptions options_;
  std::vector<State> states_;  // one a parameter
};

}  // namespace lrqat::nn
