// Folders of compressed-tensors, GPTQ and AWQ as models: every packed linear a frozen integer weight.
#pragma once

#include <filesystem>
#include <memory>

#include "lrqat/model/load.h"

namespace lrqat::model {

// Error naming the tensor where the folder does not hold what its config says.
std::unique_ptr<Decoder> load_packed(const std::filesystem::path& folder, const LoadOptions& options = {});

}  // namespace lrqat::model
