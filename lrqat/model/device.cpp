#include "lrqat/model/device.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <charconv>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::model {
namespace {

// The N of "cuda:N"; 0 for "cuda".
int cuda_index(const std::string& name) {
  if (name == "cuda") return 0;
  int index = -1;
  if (name.rfind("cuda:", 0) == 0) std::from_chars(name.data() + 5, name.data() + name.size(), index);
  if (index < 0 || name != concat("cuda:", index)) {
    throw UsageError(concat("`device` ", quote(name), " is not known: use cpu, cuda or cuda:N"));
  }
  return index;
}

void load_cuda_library(const std::string& name) {
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  const char* reason = ::dlerror();
  fail("`device` ", name, ": LibTorch's CUDA library cannot be loaded (",
       reason == nullptr ? "no reason given" : reason,
       "). It needs the CUDA build of torch and NVIDIA's libraries: on a machine with an NVIDIA GPU, ",
       "LRQAT_TORCH=torch===2.13.0 make setup && make build installs both; by hand, pip install --no-deps "
       "torch===2.13.0 -r requirements-cudart.txt -r requirements-cuda.txt. Or use `device` cpu");
}

}  // namespace

at::Device open_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  const int index = cuda_index(name);
  load_cuda_library(name);
  const int count = at::hasCUDA() ? static_cast<int>(at::getNumGPUs()) : 0;
  if (count == 0) {
    fail("`device` ", name,
         ": LibTorch's CUDA library is there, but it finds no GPU that it can use. See whether "
         "nvidia-smi lists one, and whether its driver is new enough for CUDA 13 (580 or later). Or use "
         "`device` cpu");
  }
  if (index >= count)
    fail("`device` ", name, ": there are ", count, " GPUs here, cuda:0 to cuda:", count - 1);
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

}  // namespace lrqat::model
