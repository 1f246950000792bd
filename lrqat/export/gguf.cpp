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
#include "lrqat/formats/gguf_names.h"
#include "lrqat/formats/gguf_obstacle.h"
#include "lrqat/model/general_metadata.h"
#include "lrqat/model/output.h"
#include "lrqat/model/tokenizer_files.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using formats::GgmlType;

std::uint32_t u32(std::int64_t value) { return static_cast<std::uint32_t>(value); }

// llama.h: enum llama_ftype, of the type that most weights have. Types that it has no name for count as F32.
std::uint32_t file_type(const std::vector<ExportTensor>& tensors) {
  static const std::map<GgmlType, std::uint32_t> kFileTypes = {
      {GgmlType::F32, 0},     {GgmlType::F16, 1},     {GgmlType::Q4_0, 2},  {GgmlType::Q4_1, 3},
      {GgmlType::Q8_0, 7},    {GgmlType::Q5_0, 8},    {GgmlType::Q5_1, 9},  {GgmlType::Q4_K, 14},
      {GgmlType::Q2_K, 10},   {GgmlType::Q3_K, 11},   {GgmlType::Q5_K, 16}, {GgmlType::Q6_K, 18},
      {GgmlType::IQ4_NL, 25}, {GgmlType::IQ4_XS, 30}, {GgmlType::BF16, 32}};
  std::map<GgmlType, std::int64_t> weights;
  for (const ExportTensor& tensor : tensors) {
    if (tensor.shape.size() == 2) weights[tensor.type] += tensor.shape[0] * tensor.shape[1];
  }
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto found = kFileTypes.find(most->first);
  return found == kFileTypes.end() ? 0 : found->second;
}

void set_rope(const formats::ModelConfig& config, const std::string& prefix, formats::GgufWriter& writer) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto number = [&](const char* key, double value) {
    writer.set(prefix + key, static_cast<float>(value));
  };
  writer.set(prefix + "rope.dimension_count", u32(formats::rotary_dimensions(config)));
  number("rope.freq_base", config.rope_theta);
  if (config.rope_local_theta > 0) number("rope.freq_base_swa", config.rope_local_theta);
  const std::string& type = scaling.rope_type;
  if (type == "dynamic") writer.set(std::string(formats::kDynamicFactor), static_cast<float>(scaling.factor));
  if (type == "llama3") {
    const std::vector<double> settings{scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor,
                                       static_cast<double>(scaling.original_max_position_embeddings)};
    writer.set(std::string(formats::kLlama3Settings),
               formats::GgufArray(std::vector<float>(settings.begin(), settings.end())));
  }
  if (type != "linear" && type != "yarn" && type != "longrope") return;
  writer.set(prefix + "rope.scaling.type", type);
  if (type != "longrope") number("rope.scaling.factor", scaling.factor);
  if (type == "linear") return;
  writer.set(prefix + "rope.scaling.original_context_length", u32(scaling.original_max_position_embeddings));
  const double own = type == "yarn" ? formats::yarn_magnitude(scaling.factor) : 1.0;
  number("rope.scaling.attn_factor", scaling.attention_factor / own);
  if (type == "longrope") return;
  number("rope.scaling.yarn_beta_fast", scaling.beta_fast);
  number("rope.scaling.yarn_beta_slow", scaling.beta_slow);
}

void set_gemma(const formats::ModelConfig& config, const std::string& prefix, formats::GgufWriter& writer) {
  if (formats::family_of(config).window_period > 0 && config.sliding_window)
    writer.set(prefix + "attention.sliding_window", u32(*config.sliding_window));
  if (config.attn_logit_softcapping > 0)
    writer.set(prefix + "attn_logit_softcapping", static_cast<float>(config.attn_logit_softcapping));
  if (config.final_logit_softcapping > 0)
    writer.set(prefix + "final_logit_softcapping", static_cast<float>(config.final_logit_softcapping));
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
  set_gemma(config, prefix, writer);
}

std::vector<std::string> set_metadata(const model::OpenedModel& model,
                                      const std::vector<ExportTensor>& tensors, formats::GgufWriter& writer) {
  const formats::ModelConfig& config = model.decoder->config();
  writer.set("general.architecture", std::string(formats::family_of(config).gguf_architecture));
  writer.set("general.type", std::string("model"));
  for (const auto& [key, value] : model::general_metadata(model)) writer.set(key, value);
  writer.set("general.file_type", file_type(tensors));
  writer.set("general.quantization_version", std::uint32_t{2});
  model::GgufMark mark;
  for (const ExportTensor& tensor : tensors) mark.add(tensor.name, tensor.type, tensor.shape);
  writer.set(model::kGgufMark, mark.value());
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

std::string rounded_warning(const ExportReport& report, const ExportOptions& options) {
  std::string names;
  for (const std::string& tensor : report.rounded) names += (names.empty() ? "" : ", ") + tensor;
  if (options.rest_type == "auto") {
    return concat("rounded as llama.cpp's own quantizer does, to keep the file small: ", names,
                  " (`rest-type` keep writes them exactly)");
  }
  return concat("tensors that were not trained are rounded to ", options.rest_type,
                ", as `rest-type` asks (q6_k: to q8_0 where rows are no multiple of 256): ", names);
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
        "Q2_0 blocks need llama.cpp of August 2026 or later (commit fcfe6389); `linear-type` q4_0 is what "
        "older builds read");
  }
  if (report.bit_exact_tensors < report.tensors) report.warnings.push_back(rounded_warning(report, options));
  const auto wide = std::find_if(tensors.begin(), tensors.end(),
                                 [](const ExportTensor& tensor) { return !tensor.smaller.empty(); });
  if (wide != tensors.end()) {
    const double bits = formats::bits_per_weight(wide->type);
    report.warnings.push_back(
        concat(wide->name, " and those like it: integers of fewer than 4 bits lie in blocks of ",
               formats::ggml_type_name(wide->type), ", ", bits,
               " bits a weight, so the file is as large as one of 4-bit integers, which would be nearer to "
               "the float "
               "model. Smaller: ",
               wide->smaller, "; compressed-tensors and gptq store them in their own bits"));
  }
}

void check_target(const fs::path& out) {
  const fs::path parent = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!fs::is_directory(parent))
    fail(out.string(), ": there is no folder ", parent.string(), " to write it to");
}

void check_model(const formats::ModelConfig& config) {
  const std::string obstacle = formats::gguf_obstacle(config);
  if (!obstacle.empty()) fail(obstacle);
}

// What llama.cpp does otherwise than the model.
void add_model_warnings(const formats::ModelConfig& config, ExportReport& report) {
  if (config.sliding_window && formats::family_of(config).window_period == 0) {
    report.warnings.emplace_back(
        "the sliding window of this model is not written: llama.cpp lets every token see all tokens before "
        "it");
  }
  if (config.rope_scaling.rope_type == "dynamic") {
    report.warnings.push_back(concat("llama.cpp has no rotary embedding of type dynamic: up to ",
                                     config.max_position_embeddings,
                                     " tokens it computes the same, beyond them it does not stretch"));
  }
  if (config.rope_scaling.rope_type == "longrope") {
    report.warnings.push_back(concat("llama.cpp takes the long factors where its context is longer than ",
                                     config.rope_scaling.original_max_position_embeddings,
                                     ", whatever the length of a text"));
  }
}

// The file is read back and compared before it gets its name; a tensor that differs, other than by the
// rounding that rest_type asks for, is an Error and leaves nothing.
ExportReport export_gguf(const model::OpenedModel& model, const fs::path& out, const ExportOptions& options,
                         ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  check_target(out);
  check_model(model.decoder->config());
  const std::vector<ExportTensor> tensors = gguf_tensors(*model.decoder, options);
  ExportReport report{.format = "gguf", .path = out};
  formats::GgufWriter writer(out);
  report.warnings = set_metadata(model, tensors, writer);
  for (const ExportTensor& tensor : tensors) writer.declare(tensor.name, tensor.type, tensor.shape);
  write_tensors(tensors, writer, progress);
  writer.finish([&](const fs::path& unverified) {
    read_back_gguf(unverified, tensors, report, progress);
    report.bytes = static_cast<std::int64_t>(fs::file_size(unverified));
  });
  add_model_warnings(model.decoder->config(), report);
  add_warnings(tensors, options, report);
  return report;
}

}  // namespace

Exporter gguf_exporter() {
  const auto is_float = [](const ExportOptions& options) { return !options.matrices.empty(); };
  return {"gguf", model::OutputKind::file, export_gguf,
          [is_float](const quant::QuantizedWeight& weight, const ExportOptions& options) {
            return is_float(options) ? std::string() : block_obstacle(weight, options.linear_type);
          },
          [is_float](const ExportOptions& options) {
            return is_float(options) ? std::vector<at::ScalarType>{} : std::vector{at::kHalf};
          }};
}

}  // namespace lrqat::exporting
