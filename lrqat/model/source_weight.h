// A frozen weight that stays in its file: rows are read from the memory map, dequantized and put into Hugging
// Face order when a tile is asked for. The teacher and `perplexity --model GGUF` run on this, so a float
// model never lies in memory as float. N out_features, K in_features.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lrqat/formats/weight_source.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::model {

using SharedSource = std::shared_ptr<const formats::WeightSource>;

class SourceWeight final : public quant::WeightParametrization {
 public:
  // `name` is a two-dimensional tensor of the source (model.layers.0.mlp.up_proj.weight).
  SourceWeight(SharedSource source, std::string name);

  std::int64_t out_features() const override { return rows_; }
  std::int64_t in_features() const override { return cols_; }
  at::Device device() const override { return at::kCPU; }
  quant::WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end,
                              ops::ComputeType compute) const override;
  std::int64_t resident_bytes() const override { return 0; }

  // Where the file holds integers, as blocks.
  std::optional<quant::QuantizedWeight> stored_integers() const override;
  const formats::SourceTensor* file_tensor() const override { return &tensor_; }

 private:
  SharedSource source_;
  std::string name_;
  formats::SourceTensor tensor_;
  std::int64_t rows_;
  std::int64_t cols_;
};

// A source whose matrices are integers in memory already.
class IntegerTensors {
 public:
  virtual ~IntegerTensors() = default;
  // Null: this tensor is float.
  virtual std::shared_ptr<quant::WeightParametrization> integers(std::string_view name) const = 0;
};

// Rows [row_begin, row_end) as a new float32 tensor, read by all threads.
at::Tensor read_rows(const formats::WeightSource& source, const std::string& name, std::int64_t row_begin,
                     std::int64_t row_end);
// A whole tensor of any shape as a new float32 tensor; Error where a number is not finite.
at::Tensor read_tensor(const formats::WeightSource& source, const std::string& name);

// The weight without a copy: the integers where the source has them, a FloatWeight on the map itself where
// the storage is float32, bfloat16 or float16 in Hugging Face order and aligned, else a SourceWeight. On
// another device than the CPU it is copied: in 16 bits where it is stored so, else as float32. The stored
// bytes are read through once: Error where they hold numbers that are not finite.
std::shared_ptr<quant::WeightParametrization> frozen_weight(const SharedSource& source,
                                                            const std::string& name, at::Device device);

}  // namespace lrqat::model
