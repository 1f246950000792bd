// lrqat inspect --compare A B: two models tensor by tensor, whatever files they come from.
#pragma once

#include <filesystem>

#include "lrqat/cli/cli.h"

namespace lrqat::cli {

// Prints which tensors differ and by how much; "equal" in the JSON document.
void run_compare(const std::filesystem::path& a, const std::filesystem::path& b, Context& context);

}  // namespace lrqat::cli
