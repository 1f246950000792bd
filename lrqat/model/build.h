// Puts a decoder together from named tensors, wherever they come from.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>

#include "lrqat/model/decoder.h"

namespace lrqat::model {

// Where a decoder's tensors come from, by Hugging Face's names.
struct WeightProvider {
  // The weight of a module ("model.layers.0.mlp.up_proj", "lm_head").
  std::function<std::shared_ptr<quant::WeightParametrization>(const std::string& module)> weight;
  // A norm's weight or a bias ("model.norm.weight"), float32.
  std::function<at::Tensor(const std::string& tensor)> vector;
};

// Of a float model whose tensors the program has itself. `tensor` gives each by its name: matrices as
// float32, bfloat16 or float16, which they stay, the others as float32.
WeightProvider float_weights(std::function<at::Tensor(const std::string& name)> tensor);

// Error where the config asks for something that this decoder does not do.
std::unique_ptr<Decoder> build_decoder(const formats::ModelConfig& config, const WeightProvider& provider,
                                       ops::ComputeType compute);

}  // namespace lrqat::model
