// Activation checkpointing: a part of the model whose intermediate tensors are not kept in forward but made
// again in backward (design: whole decoder blocks).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace lrqat::nn {

// A pure function of its arguments and of parameters that it holds itself: called twice, it must do the same.
using CheckpointedFunction = std::function<at::Tensor(at::TensorList activations)>;

// fn(activations), keeping only `activations` for backward. `parameters` are all leaves that fn uses and that
// need a gradient; without them among the inputs, autograd would not see that the result depends on them.
// Values and gradients are bit for bit those of a plain fn(activations).
at::Tensor checkpoint(const CheckpointedFunction& fn, at::TensorList activations, at::TensorList parameters);

}  // namespace lrqat::nn
