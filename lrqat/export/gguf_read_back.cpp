#include "lrqat/export/gguf_read_back.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/export/gguf_blocks.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/gguf.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using formats::GgmlType;

constexpr std::int64_t kRowsAtOnce = 256;  // of values that are made to be compared

// Equal bits. The product of a scale and code 0 may be zero of either sign in a weight that is in training.
bool same_values(const float* decoded, const float* expected, std::int64_t n, bool is_product) {
  if (is_product) return std::equal(decoded, decoded + n, expected);
  return std::memcmp(decoded, expected, static_cast<std::size_t>(n) * sizeof(float)) == 0;
}

// Rounding may lose digits, but not the order of magnitude: float16 has nothing beyond 65504.
void check_stays_finite(const ExportTensor& tensor, std::int64_t row, const float* decoded,
                        const float* expected, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    if (std::isfinite(decoded[i]) || !std::isfinite(expected[i])) continue;
    fail(tensor.name, ", row ", row, ": ", expected[i], " is beyond the range of ",
         formats::ggml_type_name(tensor.type), "; give another `rest-type`: keep, f32 or bf16 hold it");
  }
}

// The first row whose values differ; -1: none.
std::int64_t row_of_other_values(const formats::GgufTensor& stored, const ExportTensor& tensor) {
  const std::int64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape.front(), cols = tensor.shape.back();
  const std::size_t row_bytes = formats::ggml_row_bytes(tensor.type, cols);
  std::vector<float> decoded(static_cast<std::size_t>(cols));
  std::int64_t first = -1;
  for (std::int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const std::int64_t end = std::min(begin + kRowsAtOnce, rows);
    const at::Tensor values = tensor.values(begin, end);
    for (std::int64_t row = begin; row < end; ++row) {
      formats::dequantize_row(stored.type, stored.data.data() + static_cast<std::size_t>(row) * row_bytes,
                              decoded.data(), cols);
      const float* expected = values.const_data_ptr<float>() + (row - begin) * cols;
      if (same_values(decoded.data(), expected, cols, tensor.from_integers)) continue;
      if (!tensor.may_round) return row;
      check_stays_finite(tensor, row, decoded.data(), expected, cols);
      if (first < 0) first = row;
    }
  }
  return first;
}

// The first row whose codes or scales differ; -1: none. Values alone would not see a code whose scale is 0.
std::int64_t row_of_other_codes(const formats::GgufTensor& stored, const ExportTensor& tensor) {
  const BlockRows blocks(tensor.codes());
  const formats::CodeBlockType& type = *formats::find_code_block_type(stored.type);
  const std::size_t row_bytes = formats::ggml_row_bytes(stored.type, blocks.cols());
  for (std::int64_t row = 0; row < blocks.rows(); ++row) {
    const std::byte* data = stored.data.data() + static_cast<std::size_t>(row) * row_bytes;
    if (!blocks.equals(type, tensor.row_of ? tensor.row_of(row) : row, data)) return row;
  }
  return -1;
}

bool is_exact(const fs::path& path, const formats::GgufTensor& stored, const ExportTensor& tensor) {
  if (stored.type != tensor.type || stored.shape != tensor.shape) {
    fail(path.string(), ": tensor \"", tensor.name,
         "\" read back has another type or shape than was written");
  }
  const std::int64_t value_row = row_of_other_values(stored, tensor);
  if (value_row >= 0 && tensor.may_round) return false;
  const std::int64_t row = value_row < 0 && tensor.codes ? row_of_other_codes(stored, tensor) : value_row;
  if (row >= 0) {
    fail(path.string(), ": tensor \"", tensor.name, "\", row ", row, " read back differs from the model's ",
         tensor.codes ? "integers and scales" : "values",
         "; nothing was exported (this is a bug in lrqat or a broken disk)");
  }
  return true;
}

}  // namespace

void read_back_gguf(const fs::path& path, const std::vector<ExportTensor>& tensors, ExportReport& report,
                    ProgressReporter& progress) {
  const formats::GgufFile file(path);
  if (file.tensors().size() != tensors.size()) {
    fail(path.string(), ": read back holds ", file.tensors().size(), " tensors, expected ", tensors.size());
  }
  std::int64_t weights = 0;
  std::size_t bytes = 0;
  progress.start("read back", static_cast<std::int64_t>(tensors.size()));
  for (const ExportTensor& tensor : tensors) {
    const formats::GgufTensor& stored = file.at(tensor.name);
    if (is_exact(path, stored, tensor)) {
      ++report.bit_exact_tensors;
    } else {
      report.rounded.push_back(concat(tensor.name, " to ", formats::ggml_type_name(tensor.type)));
    }
    weights += stored.elements();
    bytes += stored.data.size();
    file.release(stored);
    progress.update(++report.tensors, tensor.name);
  }
  progress.finish();
  report.bits_per_weight = 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

}  // namespace lrqat::exporting
