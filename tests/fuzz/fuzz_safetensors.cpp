// Any bytes as a safetensors file: either read, every byte of every tensor, or refused with lrqat::Error.
#include "fuzz_input.h"
#include "lrqat/base/error.h"
#include "lrqat/formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const lrqat::fuzz::InputFile input(data, size);
  try {
    const lrqat::formats::SafetensorsFile file(input.path());
    for (const auto& tensor : file.tensors()) {
      for (const std::byte b : tensor.data) lrqat::fuzz::use(std::to_integer<std::size_t>(b));
      if (&file.at(tensor.name) != &tensor) std::abort();
    }
  } catch (const lrqat::Error&) {
  }
  return 0;
}
