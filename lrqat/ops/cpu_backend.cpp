#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {

const Backend& cpu_backend() {
  static const CpuBackend backend;
  return backend;
}

}  // namespace lrqat::ops
