// The GGUF exporter: metadata, tensors, and the file read back before it gets its name.
#include "lrqat/formats/gguf.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "lrqat/base/error.h"
#include "lrqat/export/exporter.h"
#include "lrqat/export/gguf_blocks.h"
#include "lrqat/export/gguf_read_back.h"
#include "lrqat/export/gguf_tensors.h"
#include "lrqat/model/tokenizer_files.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using formats::GgmlType;

std::uint32_t u32(std::int64_t value) { return static_cast<std::uint32_t>(value); }

// llama.h: enum llama_ftype, of the type that most weights have. Types that it has no name for count as F32.
std::uint32_t file_type(const std::vector<ExportTensor>& tensors) {
  static const std::map<GgmlType, std::uint32_t> kFileTypes = {
      {GgmlType::F32, 0},   {GgmlType::F16, 1},   {GgmlType::Q4_0, 2},  {GgmlType::Q4_1, 3},
      {GgmlType::Q8_0, 7},  {GgmlType::Q5_0, 8},  {GgmlType::Q5_1, 9},  {GgmlType::Q4_K, 14},
      {GgmlType::Q2_K, 10}, {GgmlType::Q3_K, 11}, {GgmlType::Q5_K, 16}, {GgmlType::Q6_K, 18},
      {GgmlType::BF16, 32}};
  std::map<GgmlType, std::int64_t> weights;
  for (const ExportTensor& tensor : tensors) {
    if (tensor.shape.size() == 2) weights[tensor.type] += tensor.shape[0] * tensor.shape[1];
  }
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto found = kFileTypes.find(most->first);
  return found == kFileTypes.end() ? 0 : found->second;
}

std::string model_name(const fs::path& path) {
  const fs::path plain = fs::absolute(path).lexically_normal();
  return (plain.has_filename() ? plain : plain.parent_path()).filename().string();
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
  writer.set("general.name", model_name(model.path));
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

// Things that a user who expected something else wants to know.
void add_warnings(const std::vector<ExportTensor>& tensors, const ExportOptions& options,
                  ExportReport& report) {
  const bool any_codes = std::any_of(tensors.begin(), tensors.end(),
                                     [](const ExportTensor& tensor) { return bool(tensor.codes); });
  if (!any_codes && options.matrices.empty()) {
    report.warnings.emplace_back("no linear of this model is quantized: the file holds the float model");
  }
  if (std::any_of(tensors.begin(), tensors.end(),
                  [](const ExportTensor& tensor) { return tensor.type == GgmlType::Q2_0; })) {
    report.warnings.emplace_back(
        "Q2_0 blocks need llama.cpp of August 2026 or later (commit fcfe6389); --linear-type q4_0 is what "
        "older builds read");
  }
  if (report.bit_exact_tensors < report.tensors) {
    report.warnings.push_back(concat(report.tensors - report.bit_exact_tensors,
                                     " tensors that were not trained are rounded to ", options.rest_type,
                                     ", as --rest-type asks"));
  }
}

void check_target(const fs::path& out) {
  const fs::path parent = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!fs::is_directory(parent))
    fail(out.string(), ": there is no folder ", parent.string(), " to write it to");
  if (fs::is_directory(out))
    fail(out.string(), " is a folder: --out takes the name of a file, like model.gguf");
}

// The file is read back and compared before it gets its name; a tensor that differs, other than by the
// rounding that rest_type asks for, is an Error and leaves nothing.
// What a file of llama.cpp's kind has no keys or tensors for here.
void check_model(const formats::ModelConfig& config) {
  const std::string& rope = config.rope_scaling.rope_type;
  const bool known_rope = rope == "default" || rope == "linear" || rope == "llama3";
  const std::string held = "; compressed-tensors, gptq, awq and hf hold this model";
  if (!known_rope) fail("a rotary embedding of type \"", rope, "\" is not written to GGUF", held);
  if (!config.rope_layers.empty() && config.rope_layers != formats::rope_layers_every(config, 4)) {
    fail("layers without a rotary embedding other than each fourth one are not written to GGUF", held);
  }
  if (config.partial_rotary_factor != 1.0) {
    fail("a rotary embedding of a part of each head is not written to GGUF", held);
  }
  if (formats::family_of(config).fused_projections) {
    fail("models of model_type \"", config.model_type, "\" are not written to GGUF", held);
  }
}

ExportReport export_gguf(const model::OpenedModel& model, const fs::path& out, const ExportOptions& options,
                         ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  check_target(out);
  check_model(model.decoder->config());
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
    read_back_gguf(unverified, tensors, report, progress);
    report.bytes = static_cast<std::int64_t>(fs::file_size(unverified));
    fs::rename(unverified, out);
  } catch (...) {
    std::error_code ignored;
    fs::remove(unverified, ignored);
    throw;
  }
  if (model.decoder->config().sliding_window) {
    report.warnings.emplace_back(
        "the sliding window of this model is not written: llama.cpp lets every token see "
        "all tokens before it");
  }
  add_warnings(tensors, options, report);
  return report;
}

}  // namespace

Exporter gguf_exporter() {
  const auto is_float = [](const ExportOptions& options) { return !options.matrices.empty(); };
  return {"gguf", export_gguf,
          [is_float](const quant::QuantizedWeight& weight, const ExportOptions& options) {
            return is_float(options) ? std::string() : block_obstacle(weight, options.linear_type);
          },
          [is_float](const ExportOptions& options) {
            return is_float(options) ? std::vector<at::ScalarType>{} : std::vector{at::kHalf};
          }};
}

}  // namespace lrqat::exporting
