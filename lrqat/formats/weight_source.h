// The one way to read a model's float weights, whatever file they lie in: Hugging Face names, Hugging Face
// row order, memory-mapped, a few rows at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/formats/ggml_types.h"
#include "lrqat/formats/model_config.h"

namespace lrqat::formats {

// A tensor's stored bytes. Safetensors types are given as the ggml type of the same layout (F32, F16, BF16,
// F64). Row r in Hugging Face order is row source_row(r) of `data`. Data may be unaligned.
struct SourceTensor {
  GgmlType type = GgmlType::F32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
  std::vector<std::int64_t> row_of;  // empty: rows are stored in Hugging Face order

  bool in_order() const { return row_of.empty(); }
  std::int64_t source_row(std::int64_t row) const {
    return row_of.empty() ? row : row_of[static_cast<std::size_t>(row)];
  }
  std::int64_t cols() const {
    return shape.size() < 2 ? 1 : shape.back();
  }  // of a row as read_rows counts them
  bool is_aligned_for(std::size_t bytes) const {
    return reinterpret_cast<std::uintptr_t>(data.data()) % bytes == 0;
  }
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const ModelConfig& config() const = 0;
  virtual std::vector<std::string> names() const = 0;  // Hugging Face names, in file order
  virtual bool has(std::string_view name) const = 0;
  virtual std::vector<std::int64_t> shape(std::string_view name) const = 0;
  virtual std::string dtype_name(std::string_view name) const = 0;  // "BF16", "Q4_1"

  // Rows [row_begin, row_end) as float32, Hugging Face order. A 1-D tensor [n] has n rows of one element.
  virtual void read_rows(std::string_view name, std::int64_t row_begin, std::int64_t row_end,
                         float* out) const = 0;
  std::vector<float> read(std::string_view name) const;  // the whole tensor

  virtual SourceTensor raw(std::string_view name) const = 0;
  virtual void release(std::string_view name) const = 0;  // its pages are not needed soon
  virtual std::string path() const = 0;
  virtual std::string kind() const = 0;  // "huggingface" or "gguf"
};

// The GGUF file of a folder, of a split one the first part; empty where there is none; Error where there are
// several.
std::filesystem::path gguf_in(const std::filesystem::path& folder);

// A Hugging Face folder (config.json and safetensors) or a GGUF file (or a folder with exactly one). The
// names and shapes that the config asks for are checked here, so a missing or wrong tensor is one clear error
// at the start.
std::unique_ptr<WeightSource> open_weight_source(const std::filesystem::path& path);

}  // namespace lrqat::formats
