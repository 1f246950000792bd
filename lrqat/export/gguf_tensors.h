// The tensors of a GGUF file that is being exported: name, type, shape, the bytes of each row, and the exact
// values that the file must give back. N rows, K columns.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lrqat/export/exporter.h"
#include "lrqat/formats/ggml_types.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::exporting {

using ByteSink = std::function<void(std::span<const std::byte>)>;

struct ExportTensor {
  std::string name;  // GGUF's
  formats::GgmlType type = formats::GgmlType::F32;
  std::vector<std::int64_t> shape;
  bool from_integers = false;  // the values are products of a scale and an integer
  bool may_round = false;      // --rest-type asked for a type that need not hold the values exactly
  // Of integers that lie in wider blocks than their bits need: what would be smaller, a sentence; else empty.
  std::string smaller;
  // Row order of the file: row r is the model's row `row_of(r)`.
  std::function<std::int64_t(std::int64_t)> row_of;
  std::function<void(const ByteSink&)> write;
  // The integers and scales, in the model's row order, where the tensor holds them as blocks; else empty.
  std::function<quant::QuantizedWeight()> codes;
  // Rows [begin, end) of the file as float32, exactly the model's values.
  std::function<at::Tensor(std::int64_t begin, std::int64_t end)> values;
};

// All tensors of the model, in llama.cpp's order. Error where a quantized linear cannot be held exactly,
// naming it and what would hold it.
std::vector<ExportTensor> gguf_tensors(const model::Decoder& decoder, const ExportOptions& options);

}  // namespace lrqat::exporting
