// Prepares a model with calibration text: layer by layer in the order of the data, every linear's input is
// observed on activations that the linears prepared before it already produced, as GPTQ and AWQ want it.
// Beside the activations of the text between two layers, memory holds what one layer needs. B sequences, L
// tokens each, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/quant/awq.h"

namespace lrqat::start {

struct CalibrationVisitor {
  // Linears of one input: q, k, v; o; gate, up; down. False: their input need not be observed.
  std::function<bool(std::span<nn::Linear* const> linears)> wants_input;
  // Gives them new weights, or leaves them. hessian: 2·Σ x·xᵀ over all calibration tokens, float32 [K, K];
  // undefined where the input was not wanted. Its memory may be used up.
  std::function<void(std::span<nn::Linear* const> linears, const at::Tensor& hessian)> prepare;
};

// batches: tokens [B, L] int64, on any device. Without gradients.
void calibrate(model::Decoder& decoder, std::span<const at::Tensor> batches,
               const CalibrationVisitor& visitor, ProgressReporter& progress);

// The same a whole layer at a time: what its four inputs are while the layer is still float.
struct LayerInputs {
  quant::InputStatistics qkv, o, gate_up, down;
};
using PrepareLayer = std::function<void(std::int64_t layer, const LayerInputs& inputs)>;
void calibrate_layers(model::Decoder& decoder, std::span<const at::Tensor> batches,
                      const PrepareLayer& prepare, ProgressReporter& progress);

}  // namespace lrqat::start
