#include "lrqat/export/folder.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/user_text.h"
#include "lrqat/export/compare.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/fused_projections.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/converted_format.h"
#include "lrqat/model/general_metadata.h"
#include "lrqat/model/output.h"
#include "lrqat/model/tensor_file.h"
#include "lrqat/model/tokenizer_files.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

at::Tensor values_of_rows(const quant::WeightParametrization& weight, std::int64_t begin, std::int64_t end) {
  return weight.make_tile(begin, end, ops::ComputeType::float32).to_float().cpu().contiguous();
}

at::ScalarType smallest_exact(bool half, bool bfloat16) {
  return half ? at::kHalf : bfloat16 ? at::kBFloat16 : at::kFloat;
}

// How a float matrix is kept: as it is stored, or the smallest type that loses nothing.
at::ScalarType kept_type(const Matrices& weights) {
  if (const at::Tensor first = weights.front()->float_storage(); first.defined()) {
    const at::ScalarType type = first.scalar_type();
    const bool all = std::all_of(weights.begin(), weights.end(), [&](const WeightPtr& weight) {
      const at::Tensor other = weight->float_storage();
      return other.defined() && other.scalar_type() == type;
    });
    if (all) return type;
  }
  bool half = true, bfloat16 = true;
  for (const WeightPtr& weight : weights) {
    for_row_chunks(*weight, [&](const at::Tensor& rows, std::int64_t) {
      half = half && is_exact_in(rows, at::kHalf);
      bfloat16 = bfloat16 && is_exact_in(rows, at::kBFloat16);
    });
  }
  return smallest_exact(half, bfloat16);
}

// The config.json that the model comes from, where there is one: it may hold keys that ModelConfig does not.
fs::path folder_of(const model::OpenedModel& model) {
  const fs::path path = model.source != nullptr ? fs::path(model.source->path()) : model.path;
  return fs::is_regular_file(path / "config.json") ? path : fs::path();
}

Json config_of(const model::OpenedModel& model, const FolderPlan& plan) {
  const fs::path folder = folder_of(model);
  Json json = folder.empty() ? formats::config_to_json(model.decoder->config())
                             : formats::read_folder_config(folder).json;
  if (!model.decoder->config().tie_word_embeddings) json["tie_word_embeddings"] = false;  // by rotations
  json.erase("quantization_config");
  if (!plan.quantization.is_null()) json["quantization_config"] = plan.quantization;
  json["dtype"] = json["torch_dtype"] = plan.dtype;
  return json;
}

void write_tensors(const fs::path& folder, const formats::Metadata& metadata, const FolderPlan& plan,
                   ProgressReporter& progress) {
  std::vector<formats::TensorDeclaration> declared;
  for (const FolderTensor& tensor : plan.tensors)
    declared.push_back({tensor.name, tensor.dtype, tensor.shape});
  formats::ShardedSafetensorsWriter writer(folder, declared, metadata);
  progress.start("export", static_cast<std::int64_t>(plan.tensors.size()));
  std::int64_t count = 0;
  for (const FolderTensor& tensor : plan.tensors) {
    tensor.write([&](const at::Tensor& part) {
      LRQAT_CHECK(model::dtype_of(part.scalar_type()) == tensor.dtype, tensor.name);
      writer.write(tensor.name, model::TensorBytes(part));
    });
    progress.update(++count, tensor.name);
  }
  writer.finish();
  progress.finish();
}

void add_warnings(const model::OpenedModel& model, const FolderPlan& plan, const fs::path& folder,
                  ExportReport& report) {
  report.warnings.insert(report.warnings.end(), plan.warnings.begin(), plan.warnings.end());
  const formats::DType loaded = model::dtype_of(parse_dtype_option(plan.dtype));
  const auto wider = std::count_if(plan.tensors.begin(), plan.tensors.end(), [&](const FolderTensor& tensor) {
    return formats::is_readable_float(tensor.dtype) && tensor.dtype != loaded &&
           loaded != formats::DType::F32;
  });
  if (wider > 0) {
    report.warnings.push_back(concat(wider, " tensors are stored in another type than ", plan.dtype,
                                     ", in which programs will load them; `dtype` float32 avoids rounding"));
  }
  if (fs::exists(folder / "tokenizer.gguf")) {
    report.warnings.emplace_back(
        "the tokenizer comes from a GGUF file and is kept as tokenizer.gguf, which "
        "lrqat reads but transformers does not");
  }
  const auto linears = model.decoder->linears();
  if (std::none_of(linears.begin(), linears.end(),
                   [](const nn::Linear* linear) { return linear->weight()->is_quantized(); })) {
    report.warnings.emplace_back("no linear of this model is quantized: the folder holds the float model");
  }
}

double tensor_bits(const FolderPlan& plan, const model::Decoder& decoder) {
  std::uint64_t bytes = 0;
  for (const FolderTensor& tensor : plan.tensors) {
    bytes += formats::declared_bytes({tensor.name, tensor.dtype, tensor.shape});
  }
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(count_weights(decoder));
}

}  // namespace

std::int64_t bytes_in(const fs::path& folder) {
  std::int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    bytes += static_cast<std::int64_t>(entry.file_size());
  return bytes;
}

std::int64_t count_weights(const model::Decoder& decoder) {
  std::int64_t weights = 0;
  for (const auto& tensor : formats::expected_tensors(decoder.config()))
    weights += formats::shape_product(tensor.shape).value();
  return weights;
}

at::ScalarType parse_dtype_option(const std::string& name) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16, at::kFloat}) {
    if (dtype_option_name(type) == name) return type;
  }
  throw UsageError(concat("`dtype` ", quote(name), " is not known: use auto, float16, bfloat16 or float32"));
}

std::string dtype_option_name(at::ScalarType type) {
  return type == at::kHalf ? "float16" : type == at::kBFloat16 ? "bfloat16" : "float32";
}

bool is_exact_in(const at::Tensor& values, at::ScalarType type) {
  return type == at::kFloat || at::equal(values.to(type).to(at::kFloat), values);
}

void for_row_chunks(const quant::WeightParametrization& weight,
                    const std::function<void(const at::Tensor& rows, std::int64_t begin)>& visit) {
  const std::int64_t step = std::max<std::int64_t>(1, (1 << 20) / weight.in_features());
  for (std::int64_t begin = 0; begin < weight.out_features(); begin += step) {
    visit(values_of_rows(weight, begin, std::min(begin + step, weight.out_features())), begin);
  }
}

FolderTensor float_matrix(const std::string& name, const Matrices& weights, const at::ScalarType* type) {
  const at::ScalarType stored = type != nullptr ? *type : kept_type(weights);
  std::int64_t rows = 0;
  for (const WeightPtr& weight : weights) rows += weight->out_features();
  return {name,
          model::dtype_of(stored),
          {rows, weights.front()->in_features()},
          [weights, stored](const FolderSink& sink) {
            for (const WeightPtr& weight : weights) {
              for_row_chunks(*weight, [&](const at::Tensor& part, std::int64_t) { sink(part.to(stored)); });
            }
          }};
}

FolderTensor float_vector(const std::string& name, const at::Tensor& values, const at::ScalarType* type) {
  const at::Tensor plain = values.detach().cpu().to(at::kFloat).contiguous();
  const at::ScalarType stored =
      type != nullptr ? *type
                      : smallest_exact(is_exact_in(plain, at::kHalf), is_exact_in(plain, at::kBFloat16));
  return {name, model::dtype_of(stored), plain.sizes().vec(),
          [plain, stored](const FolderSink& sink) { sink(plain.to(stored)); }};
}

void for_each_tensor(const model::Decoder& decoder,
                     const std::function<void(const std::string&, const WeightPtr&)>& matrix,
                     const std::function<void(const std::string&, const at::Tensor&)>& vector) {
  matrix("model.embed_tokens", decoder.embedding().weight());
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) {
    const model::DecoderLayer& layer = decoder.layer(i);
    const std::string prefix = concat("model.layers.", i, ".");
    vector(prefix + "input_layernorm.weight", layer.input_layernorm().weight);
    vector(prefix + "post_attention_layernorm.weight", layer.post_attention_layernorm().weight);
    if (const auto& sandwich = layer.sandwich()) {
      vector(prefix + "pre_feedforward_layernorm.weight", sandwich->pre_feedforward_layernorm.weight);
      vector(prefix + "post_feedforward_layernorm.weight", sandwich->post_feedforward_layernorm.weight);
    }
    const auto& attention = layer.self_attn();
    if (attention.q_norm) vector(prefix + "self_attn.q_norm.weight", attention.q_norm->weight);
    if (attention.k_norm) vector(prefix + "self_attn.k_norm.weight", attention.k_norm->weight);
    for (const nn::Linear* linear : layer.linears()) {
      matrix(linear->name(), linear->weight());
      if (linear->bias().defined()) vector(linear->name() + ".bias", linear->bias());
    }
  }
  vector("model.norm.weight", decoder.norm().weight);
  if (!decoder.config().tie_word_embeddings) matrix("lm_head", decoder.lm_head().weight());
}

void for_each_file_tensor(const model::Decoder& decoder,
                          const std::function<void(const std::string&, const Matrices&)>& matrix,
                          const std::function<void(const std::string&, const at::Tensor&)>& vector) {
  Matrices parts;
  const auto add = [&](const std::string& module, const WeightPtr& weight) {
    const auto part = formats::fused_part(decoder.config(), module);
    parts.push_back(weight);
    if (part && part->row_begin + part->rows < part->total_rows) return;
    matrix(part ? part->fused : module, parts);
    parts.clear();
  };
  for_each_tensor(decoder, add, vector);
}

ExportReport write_folder(const std::string& format, const model::OpenedModel& model, const FolderPlan& plan,
                          const fs::path& out, ProgressReporter& progress) {
  AtomicDirectory folder(out, true);
  ExportReport report{.format = format, .path = out};
  write_tensors(folder.path(),
                {{"format", "pt"},
                 {model::kExportMark, format},
                 {model::kGeneralMetadata, model::to_text(model::general_metadata(model))}},
                plan, progress);
  write_text_file(folder.path() / "config.json", json_text(config_of(model, plan), 2) + "\n");
  model::copy_tokenizer(model.tokenizer_path, folder.path());
  {
    const model::OpenedModel written = model::open_model(folder.path());
    const Comparison comparison = compare_models(*model.decoder, *written.decoder, progress);
    report.tensors = comparison.tensors;
    report.bit_exact_tensors = comparison.tensors - static_cast<std::int64_t>(comparison.differing.size());
    report.largest_change = comparison.largest_difference;
    if (!comparison.differing.empty() && !plan.may_round) {
      fail(out.string(), ": tensor \"", comparison.differing.front().name,
           "\" read back differs from the model's; nothing was exported (this is a bug in lrqat or a broken "
           "disk)");
    }
  }
  add_warnings(model, plan, folder.path(), report);
  report.bits_per_weight = tensor_bits(plan, *model.decoder);
  report.bytes = bytes_in(folder.path());
  folder.commit();
  return report;
}

}  // namespace lrqat::exporting
