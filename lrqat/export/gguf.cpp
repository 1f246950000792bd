// The GGUF exporter: metadata, tensors, and the file read back before it gets its name.
#include "lrqat/formats/gguf.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/export/exporter.h"
#include "lrqat/export/gguf_tensors.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/model/tokenizer_files.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using formats::GgmlType;

std::uint32_t u32(std::int64_t value) { return static_cast<std::uint32_t>(value); }

// llama.h: enum llama_ftype, by the type that most weights have.
std::uint32_t file_type(const std::vector<ExportTensor>& tensors) {
  const auto has = [&](GgmlType type) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const ExportTensor& tensor) {
      return tensor.type == type && tensor.shape.size() == 2;
    });
  };
  constexpr std::uint32_t kAllF32 = 0, kMostlyF16 = 1, kMostlyQ4_0 = 2, kMostlyQ8_0 = 7, kMostlyBF16 = 32;
  if (has(GgmlType::Q4_0)) return kMostlyQ4_0;
  if (has(GgmlType::Q8_0)) return kMostlyQ8_0;
  if (has(GgmlType::BF16)) return kMostlyBF16;
  return has(GgmlType::F16) ? kMostlyF16 : kAllF32;
}

void set_rope(const formats::ModelConfig& config, const std::string& prefix, formats::GgufWriter& writer) {
  writer.set(prefix + "rope.dimension_count", u32(config.head_dim));
  writer.set(prefix + "rope.freq_base", static_cast<float>(config.rope_theta));
  if (config.rope_scaling.rope_type == "linear") {
    writer.set(prefix + "rope.scaling.type", std::string("linear"));
    writer.set(prefix + "rope.scaling.factor", static_cast<float>(config.rope_scaling.factor));
  }
}

// The keys that llama.cpp asks for (llama-model.cpp, load_hparams).
void set_model_keys(const formats::ModelConfig& config, formats::GgufWriter& writer) {
  const std::string prefix = std::string(formats::family_of(config).gguf_architecture) + ".";
  writer.set(prefix + "block_count", u32(config.num_hidden_layers));
  writer.set(prefix + "context_length", u32(config.max_position_embeddings));
  writer.set(prefix + "embedding_length", u32(config.hidden_size));
  writer.set(prefix + "feed_forward_length", u32(config.intermediate_size));
  writer.set(prefix + "attention.head_count", u32(config.num_attention_heads));
  writer.set(prefix + "attention.head_count_kv", u32(config.num_key_value_heads));
  writer.set(prefix + "attention.key_length", u32(config.head_dim));
  writer.set(prefix + "attention.value_length", u32(config.head_dim));
  writer.set(prefix + "attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_norm_eps));
  writer.set(prefix + "vocab_size", u32(config.vocab_size));
  set_rope(config, prefix, writer);
}

std::vector<std::string> set_metadata(const model::OpenedModel& model,
                                      const std::vector<ExportTensor>& tensors, formats::GgufWriter& writer) {
  const formats::ModelConfig& config = model.decoder->config();
  writer.set("general.architecture", std::string(formats::family_of(config).gguf_architecture));
  writer.set("general.type", std::string("model"));
  writer.set("general.name", fs::absolute(model.path).lexically_normal().filename().string());
  writer.set("general.file_type", file_type(tensors));
  writer.set("general.quantization_version", std::uint32_t{2});
  set_model_keys(config, writer);
  return model::write_model_vocabulary(model.tokenizer_path, config.vocab_size, writer);
}

void write_tensors(const std::vector<ExportTensor>& tensors, formats::GgufWriter& writer,
                   ProgressReporter& progress) {
  progress.start("export", static_cast<std::int64_t>(tensors.size()));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].write([&](std::span<const std::byte> bytes) { writer.write(tensors[i].name, bytes); });
    progress.update(static_cast<std::int64_t>(i) + 1, tensors[i].name);
  }
  progress.finish();
}

// Whether the file gives back exactly the model's values.
bool is_bit_exact(const formats::GgufTensor& stored, const ExportTensor& tensor) {
  if (stored.type != tensor.type || stored.shape != tensor.shape) return false;
  const bool flat = tensor.shape.size() == 1;
  const std::int64_t rows = flat ? 1 : tensor.shape.front(), cols = tensor.shape.back();
  const std::size_t row_bytes = formats::ggml_row_bytes(tensor.type, cols);
  constexpr std::int64_t kRowsAtOnce = 256;
  std::vector<float> decoded(static_cast<std::size_t>(cols));
  for (std::int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const std::int64_t end = std::min(begin + kRowsAtOnce, rows);
    const at::Tensor values = tensor.values(begin, end);
    for (std::int64_t row = begin; row < end; ++row) {
      formats::dequantize_row(stored.type, stored.data.data() + static_cast<std::size_t>(row) * row_bytes,
                              decoded.data(), cols);
      const float* expected = values.const_data_ptr<float>() + (row - begin) * cols;
      if (!std::equal(decoded.begin(), decoded.end(), expected)) return false;
    }
  }
  return true;
}

void verify(const fs::path& path, const std::vector<ExportTensor>& tensors, ExportReport& report,
            ProgressReporter& progress) {
  const formats::GgufFile file(path);
  std::int64_t weights = 0;
  std::size_t bytes = 0;
  progress.start("read back", static_cast<std::int64_t>(tensors.size()));
  for (const ExportTensor& tensor : tensors) {
    const formats::GgufTensor& stored = file.at(tensor.name);
    const bool exact = is_bit_exact(stored, tensor);
    if (!exact && tensor.is_quantized) {
      fail(path.string(), ": tensor \"", tensor.name,
           "\" read back differs from the trained integers and scales; "
           "nothing was exported (this is a bug in lrqat or a broken disk)");
    }
    report.bit_exact_tensors += exact ? 1 : 0;
    weights += stored.elements();
    bytes += stored.data.size();
    file.release(stored);
    progress.update(++report.tensors, tensor.name);
  }
  progress.finish();
  report.bits_per_weight = 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

}  // namespace

ExportReport export_gguf(const model::OpenedModel& model, const fs::path& out, const ExportOptions& options,
                         ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  const std::vector<ExportTensor> tensors = gguf_tensors(*model.decoder, options);
  // Under this name until it is verified.
  fs::path unverified = out;
  unverified += ".unverified";
  ExportReport report{.format = "gguf", .path = out};
  try {
    formats::GgufWriter writer(unverified);
    report.warnings = set_metadata(model, tensors, writer);
    for (const ExportTensor& tensor : tensors) writer.declare(tensor.name, tensor.type, tensor.shape);
    write_tensors(tensors, writer, progress);
    writer.finish();
    verify(unverified, tensors, report, progress);
  } catch (...) {
    std::error_code ignored;
    fs::remove(unverified, ignored);
    throw;
  }
  fs::rename(unverified, out);
  report.bytes = static_cast<std::int64_t>(fs::file_size(out));
  return report;
}

}  // namespace lrqat::exporting
