// Reads an exported GGUF file back and compares it with what it was made from.
#pragma once

#include <filesystem>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/export/exporter.h"
#include "lrqat/export/gguf_tensors.h"

namespace lrqat::exporting {

// Decodes every tensor of the file: values must be the model's bit for bit, and blocks of trained integers
// must hold exactly these codes and scales. Fills in the report's figures of tensors. Error naming the tensor
// that differs; one that was to be rounded (may_round) only counts as not exact.
void read_back_gguf(const std::filesystem::path& path, const std::vector<ExportTensor>& tensors,
                    ExportReport& report, ProgressReporter& progress);

}  // namespace lrqat::exporting
