// Activation checkpointing: the intermediate tensors of a part of the model, a decoder block as a rule, are
// not kept in the forward pass but recomputed in the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace lrqat::nn {

// A function of its arguments and of parameters that it holds itself, without side effects: it is called
// twice and must give the same both times.
using CheckpointedFunction = std::function<at::Tensor(at::TensorList activations)>;

// fn(activations), keeping only `activations` for backward. `parameters` are all leaves that fn uses and that
// need a gradient: autograd knows that the result depends on them only because they are among the inputs.
// Values and gradients are bit for bit those of a plain fn(activations).
at::Tensor checkpoint(const CheckpointedFunction& fn, at::TensorList activations, at::TensorList parameters);

}  // namespace lrqat::nn
