// The kinds of WeightSource and what they share. Callers use open_weight_source (weight_source.h).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/formats/dtype.h"
#include "lrqat/formats/weight_source.h"

namespace lrqat::formats {

std::unique_ptr<WeightSource> open_huggingface_source(const std::filesystem::path& folder);
std::unique_ptr<WeightSource> open_gguf_source(const std::filesystem::path& path);

// Elements [begin, end) of a run of blocks, which need not lie on block borders.
void read_elements(GgmlType type, const std::byte* data, std::int64_t begin, std::int64_t end, float* out);

// Error naming the first tensor of the config that is missing, has another shape or cannot be read as float,
// and the first one that the model has no place for.
void check_tensors(const WeightSource& source);

}  // namespace lrqat::formats
