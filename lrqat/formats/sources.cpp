#include "lrqat/formats/sources.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "lrqat/base/error.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {

void read_elements(GgmlType type, const std::byte* data, std::int64_t begin, std::int64_t end, float* out) {
  const GgmlTypeInfo& info = ggml_type_info(type);
  const std::int64_t block = info.block_elements;
  std::vector<float> decoded(static_cast<std::size_t>(block));
  while (begin < end) {
    const std::int64_t first = begin / block;
    const std::byte* source = data + static_cast<std::size_t>(first) * info.block_bytes;
    const std::int64_t whole = begin % block == 0 ? (end - begin) / block * block : 0;
    if (whole > 0) {
      dequantize_row(type, source, out, whole);
      begin += whole;
      out += whole;
      continue;
    }
    dequantize_row(type, source, decoded.data(), block);
    const std::int64_t stop = std::min(end, (first + 1) * block);
    std::copy(decoded.begin() + (begin - first * block), decoded.begin() + (stop - first * block), out);
    out += stop - begin;
    begin = stop;
  }
}

void check_tensors(const WeightSource& source) {
  const std::vector<std::string> names = source.names();
  std::unordered_set<std::string_view> wanted;
  const auto expected = expected_tensors(source.config());
  for (const ExpectedTensor& tensor : expected) {
    wanted.insert(tensor.name);
    if (!source.has(tensor.name)) {
      fail(source.path(), ": tensor ", quoted_name(tensor.name), " is missing",
           near_names_hint(tensor.name, names));
    }
    if (const auto found = source.shape(tensor.name); found != tensor.shape) {
      fail(source.path(), ": tensor ", quoted_name(tensor.name), " has shape ", shape_to_string(found),
           ", the config asks for ", shape_to_string(tensor.shape));
    }
    if (const SourceTensor raw = source.raw(tensor.name); !ggml_type_info(raw.type).can_dequantize) {
      fail(source.path(), ": tensor ", quoted_name(tensor.name), " is of type ", ggml_type_name(raw.type),
           ", which cannot be read as float; known are ", known_ggml_types());
    }
  }
  for (const std::string& name : names) {
    if (!wanted.contains(name)) {
      fail(source.path(), ": tensor ", quoted_name(name), " has no place in a ", source.config().model_type,
           " model of this config; the config does not belong to these weights");
    }
  }
}

}  // namespace lrqat::formats
