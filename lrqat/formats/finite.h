// Whether stored weights are finite, told from the stored bytes: of integer blocks only the scales can be
// something else, so nothing is dequantized.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lrqat/formats/ggml_types.h"

namespace lrqat::formats {

// n elements (whole blocks) of a type that can be dequantized: no NaN and no infinity among their values as
// float32.
bool all_finite(GgmlType type, const std::byte* source, std::int64_t n);

}  // namespace lrqat::formats
