// What calibration text says about the inputs of linears, as GPTQ and AWQ want it. K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "lrqat/quant/awq.h"
#include "lrqat/start/layer_pass.h"

namespace lrqat::start {

// 2·Σ x·xᵀ over all calibration tokens, float32 [K, K], of the inputs that Block::prepare_in_order gives.
at::Tensor input_hessian(const model::LinearGroup& group, const ForEachInput& inputs, at::Device device);

// Of every group of a block, as the block is now.
std::vector<quant::InputStatistics> input_statistics(const Block& block);

}  // namespace lrqat::start
