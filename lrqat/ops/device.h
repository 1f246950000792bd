// What the folders above must know about where a tensor is.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

// Whether tensors of this device are in the memory that files and plain code read.
bool on_host(at::Device device);

}  // namespace lrqat::ops
