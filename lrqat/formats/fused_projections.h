// Families whose files have several projections in one matrix, row blocks one under the other: Phi-3's
// qkv_proj (q, k, v) and gate_up_proj (gate, up). The model has them apart; files are read and written so.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/formats/dtype.h"
#include "lrqat/formats/messages.h"
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

// A file's fused tensor becomes the rows of one part of it. Tensor has name, shape and data. Error naming
// `file` where it has other rows than the config asks for.
template <typename Tensor>
void take_part(const std::string& file, const FusedPart& part, Tensor& tensor) {
  if (tensor.shape.size() != 2 || tensor.shape[0] != part.total_rows) {
    fail(file, ": tensor ", quoted_name(tensor.name), " has shape ", shape_to_string(tensor.shape),
         ", the config asks for ", part.total_rows, " rows");
  }
  const std::size_t row_bytes = tensor.data.size() / static_cast<std::size_t>(part.total_rows);
  tensor.data = tensor.data.subspan(static_cast<std::size_t>(part.row_begin) * row_bytes,
                                    static_cast<std::size_t>(part.rows) * row_bytes);
  tensor.shape[0] = part.rows;
}

// The modules of the model that a module of a file holds, in row order: itself where it is not fused.
std::vector<std::string> parts_of(const ModelConfig& config, const std::string& module);

// The tensors that a file of this family has, under the file's names.
std::vector<ExpectedTensor> expected_file_tensors(const ModelConfig& config);

}  // namespace lrqat::formats
