#include "lrqat/ops/cuda_backend.h"

namespace lrqat::ops {
namespace {

class CudaBackend final : public Backend {
 public:
  bool has_fused_adamw() const override { return true; }
};

}  // namespace

const Backend& cuda_backend() {
  static const CudaBackend backend;
  return backend;
}

}  // namespace lrqat::ops
