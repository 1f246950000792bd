// What a file of llama.cpp's kind has no keys or tensors for.
#pragma once

#include <string>

#include "lrqat/formats/model_config.h"

namespace lrqat::formats {

// Why GGUF does not hold this model, and which formats do; empty: it does.
std::string gguf_obstacle(const ModelConfig& config);

}  // namespace lrqat::formats
