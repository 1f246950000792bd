// Folders of integers (converted, compressed-tensors, GPTQ, AWQ) as a source of float weights, dequantized a
// few rows at a time: what training starts from where no float model is at hand.
#pragma once

#include <filesystem>

#include "lrqat/model/source_weight.h"

namespace lrqat::model {

// Whatever training can start from: everything that formats::open_weight_source opens, and folders of
// integers.
SharedSource open_source(const std::filesystem::path& path);

}  // namespace lrqat::model
