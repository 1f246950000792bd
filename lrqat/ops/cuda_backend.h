// NVIDIA GPUs: so far ATen's operations, and its fused optimiser.
#pragma once

#include "lrqat/ops/backend.h"

namespace lrqat::ops {

const Backend& cuda_backend();

}  // namespace lrqat::ops
