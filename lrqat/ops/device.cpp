#include "lrqat/ops/device.h"

#include <ATen/ATen.h>

namespace lrqat::ops {

bool on_host(at::Device device) { return device.is_cpu(); }

}  // namespace lrqat::ops
