// Families whose files have several projections in one matrix, row blocks one under the other: Phi-3's
// qkv_proj (q, k, v) and gate_up_proj (gate, up). The model has them apart; files are read and written so.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/formats/model_config.h"

namespace lrqat::formats {

// Rows [row_begin, row_begin + rows) of the fused matrix of `total_rows`.
struct FusedPart {
  std::string fused;  // module name in the file
  std::int64_t row_begin = 0;
  std::int64_t rows = 0;
  std::int64_t total_rows = 0;
};

// Where a module of the model lies in the family's files; nullopt: under its own name.
std::optional<FusedPart> fused_part(const ModelConfig& config, std::string_view module);

// The modules of the model that a module of a file holds, in row order: itself where it is not fused.
std::vector<std::string> parts_of(const ModelConfig& config, const std::string& module);

// The tensors that a file of this family has, under the file's names.
std::vector<ExpectedTensor> expected_file_tensors(const ModelConfig& config);

}  // namespace lrqat::formats
