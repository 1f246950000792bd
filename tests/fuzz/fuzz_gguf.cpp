// Any bytes as a GGUF file, read as deep as it goes: the container, then the model config and the float
// weights.
#include "fuzz_input.h"
#include "lrqat/base/error.h"
#include "lrqat/formats/gguf.h"
#include "lrqat/formats/weight_source.h"

namespace {

void read_container(const std::filesystem::path& path) {
  const lrqat::formats::GgufFile file(path);
  for (const auto& tensor : file.tensors()) {
    for (const std::byte b : tensor.data) lrqat::fuzz::use(std::to_integer<std::size_t>(b));
    if (&file.at(tensor.name) != &tensor) std::abort();
  }
  for (const auto& [key, value] : file.metadata()) {
    if (file.find_value(key) != &value) std::abort();
    lrqat::fuzz::use(lrqat::formats::gguf_type_name(value).size());
  }
}

void read_weights(const std::filesystem::path& path) {
  const auto source = lrqat::formats::open_weight_source(path);
  for (const std::string& name : source->names()) lrqat::fuzz::use(source->read(name).size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const lrqat::fuzz::InputFile input(data, size);
  for (const auto& read : {read_container, read_weights}) {
    try {
      read(input.path());
    } catch (const lrqat::Error&) {
    }
  }
  return 0;
}
