#include "lrqat/export/gguf_tensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/export/folder.h"
#include "lrqat/export/gguf_blocks.h"
#include "lrqat/export/stacked_weight.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/gguf_names.h"

namespace lrqat::exporting {
namespace {

using formats::GgmlType;
using quant::QuantizedWeight;
using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

constexpr std::int64_t kRowsAtOnce = 256;  // of values that are made to be written or compared

bool is_outside_layers(const std::string& module) {
  return module == "model.embed_tokens" || module == "lm_head";
}

GgmlType parse_rest_type(const std::string& name) {
  if (name == "f32") return GgmlType::F32;
  if (name == "f16") return GgmlType::F16;
  if (name == "bf16") return GgmlType::BF16;
  if (name == "q8_0") return GgmlType::Q8_0;
  if (name == "q6_k") return GgmlType::Q6_K;
  throw UsageError(
      concat("`rest-type` ", quote(name), " is not known: use auto, keep, f32, f16, bf16, q8_0 or q6_k"));
}

// Also those values that this model has no tensor for.
void check_options(const ExportOptions& options) {
  if (options.linear_type != "auto") choose_block_type({}, options.linear_type);
  if (options.rest_type != "keep" && options.rest_type != "auto") parse_rest_type(options.rest_type);
  if (!options.matrices.empty() && options.matrices != "f32") {
    throw UsageError(concat("`matrices` \"", options.matrices, "\" is not known: f32 is"));
  }
}

at::Tensor values_of_rows(const quant::WeightParametrization& weight, std::int64_t begin, std::int64_t end) {
  return weight.make_tile(begin, end, ops::ComputeType::float32).to_float().cpu().contiguous();
}

// The rows of the file in [begin, end), gathered from the model's order.
at::Tensor gather_rows(const quant::WeightParametrization& weight, const ExportTensor& tensor,
                       std::int64_t begin, std::int64_t end) {
  if (!tensor.row_of) return values_of_rows(weight, begin, end);
  std::vector<at::Tensor> rows;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t source = tensor.row_of(row);
    rows.push_back(values_of_rows(weight, source, source + 1));
  }
  return at::cat(rows, 0);
}

void write_codes(const ExportTensor& tensor, const ByteSink& sink) {
  const BlockRows blocks(tensor.codes());
  const formats::CodeBlockType& type = *formats::find_code_block_type(tensor.type);
  std::vector<std::byte> row(formats::ggml_row_bytes(tensor.type, blocks.cols()));
  for (std::int64_t r = 0; r < blocks.rows(); ++r) {
    blocks.encode(type, tensor.row_of ? tensor.row_of(r) : r, row.data());
    sink(row);
  }
}

void encode_row(GgmlType type, std::span<const float> row, std::byte* out) {
  if (type == GgmlType::Q8_0) return formats::quantize_row_q8_0(row, out);
  if (type == GgmlType::Q6_K) return formats::quantize_row_q6_k(row, out);
  formats::encode_float_row(type, row, out);
}

void write_values(const ExportTensor& tensor, const ByteSink& sink) {
  const std::int64_t rows = tensor.shape.front(), cols = tensor.shape.back();
  std::vector<std::byte> bytes(formats::ggml_row_bytes(tensor.type, cols));
  for (std::int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const std::int64_t end = std::min(begin + kRowsAtOnce, rows);
    const at::Tensor values = tensor.values(begin, end);
    for (std::int64_t r = 0; r < end - begin; ++r) {
      const std::span<const float> row(values.const_data_ptr<float>() + r * cols,
                                       static_cast<std::size_t>(cols));
      try {
        encode_row(tensor.type, row, bytes.data());
      } catch (const Error& error) {  // which knows numbers, not their tensor
        fail(tensor.name, ", row ", begin + r, ": ", error.what());
      }
      sink(bytes);
    }
  }
}

// The stored rows of a weight that lies in a file, as they are.
void write_stored(const formats::SourceTensor& raw, const ExportTensor& tensor, const ByteSink& sink) {
  const std::size_t row_bytes = formats::ggml_row_bytes(raw.type, raw.cols());
  for (std::int64_t r = 0; r < raw.shape.front(); ++r) {
    const std::int64_t row = raw.source_row(tensor.row_of ? tensor.row_of(r) : r);
    sink(raw.data.subspan(static_cast<std::size_t>(row) * row_bytes, row_bytes));
  }
}

// How "keep" stores a matrix: the type that holds exactly what the model has.
GgmlType kept_type(const quant::WeightParametrization& weight) {
  if (const formats::SourceTensor* stored = weight.file_tensor()) {
    // The model computes with both as float32: 64 bits, and integers of a folder that are not blocks.
    if (stored->type == GgmlType::F64 || !formats::ggml_type_info(stored->type).can_dequantize)
      return GgmlType::F32;
    return stored->type;
  }
  const at::Tensor plain = weight.float_storage();
  if (!plain.defined()) return GgmlType::F32;
  return plain.scalar_type() == at::kHalf       ? GgmlType::F16
         : plain.scalar_type() == at::kBFloat16 ? GgmlType::BF16
                                                : GgmlType::F32;
}

// The same for a matrix of several parts, which has no blocks of its own.
GgmlType kept_type(const Matrices& parts) {
  const GgmlType type = kept_type(*parts.front());
  if (parts.size() == 1) return type;
  for (const WeightPtr& part : parts) {
    if (kept_type(*part) != type) return GgmlType::F32;
  }
  return type == GgmlType::F16 || type == GgmlType::BF16 ? type : GgmlType::F32;
}

class Planner {
 public:
  Planner(const model::Decoder& decoder, const ExportOptions& options)
      : decoder_(decoder), options_(options) {
    check_options(options);
    for (const nn::Linear* linear : decoder.linears()) {
      if (!linear->weight()->is_quantized()) continue;
      const std::int64_t weights = linear->out_features() * linear->in_features();
      quantized_ += weights;
      if (linear->weight()->convert().grid.num_bits > 6) wide_ += weights;
    }
  }

  std::vector<ExportTensor> plan() {
    for_each_file_tensor(
        decoder_,
        [this](const std::string& module, const Matrices& parts) {
          matrix(module, parts.size() == 1 ? parts.front() : stack(module, parts), kept_type(parts));
        },
        [this](const std::string& name, const at::Tensor& values) { vector(name, values); });
    rope_tensors();
    return std::move(tensors_);
  }

 private:
  ExportTensor& add(const std::string& hf_name, std::vector<std::int64_t> shape, GgmlType type) {
    const auto name = formats::gguf_name(hf_name, &formats::family_of(decoder_.config()));
    LRQAT_CHECK(name.has_value(), hf_name);
    ExportTensor tensor;
    tensor.name = *name;
    tensor.type = type;
    tensor.shape = std::move(shape);
    if (formats::is_row_permuted(decoder_.config(), hf_name)) {
      tensor.row_of = [head_dim = decoder_.config().head_dim](std::int64_t row) {
        return formats::hf_row_of_gguf(row, head_dim);
      };
    }
    return tensors_.emplace_back(std::move(tensor));
  }

  void vector(const std::string& hf_name, const at::Tensor& values) {
    ExportTensor& tensor = add(hf_name, values.sizes().vec(), GgmlType::F32);
    at::Tensor plain = values.detach().cpu().to(at::kFloat).contiguous();
    const bool offset = formats::family_of(decoder_.config()).norm_offset;
    if (offset && hf_name.ends_with("norm.weight")) plain = plain + 1;
    tensor.values = [plain, row_of = tensor.row_of](std::int64_t, std::int64_t) {
      if (!row_of) return plain;
      at::Tensor out = at::empty_like(plain);
      for (std::int64_t i = 0; i < plain.numel(); ++i) out[i] = plain[row_of(i)];
      return out;
    };
    tensor.write = [values = tensor.values](const ByteSink& sink) {
      const at::Tensor all = values(0, 0);
      sink({static_cast<const std::byte*>(all.const_data_ptr()), all.nbytes()});
    };
  }

  // exact_type: the one that holds it exactly.
  void matrix(const std::string& module, const WeightPtr& weight, GgmlType exact_type) {
    if (options_.matrices == "f32") return values(module, weight, GgmlType::F32);
    const bool is_rest = is_outside_layers(module) || !weight->is_quantized();
    const std::string rest_type =
        options_.rest_type == "auto" ? automatic_type(module, *weight, exact_type) : options_.rest_type;
    if (is_rest && rest_type != "keep") {
      GgmlType type = parse_rest_type(rest_type);
      // As llama.cpp's quantizer does for rows that are no whole blocks of 256.
      if (type == GgmlType::Q6_K && !has_whole_blocks(*weight, type)) type = GgmlType::Q8_0;
      if (type == GgmlType::Q8_0 && weight->is_quantized()) return codes(module, weight, "q8_0");
      values(module, weight, type);
      tensors_.back().may_round = true;
      return;
    }
    // Embeddings that are quantized are blocks of the source file, which keep their own type.
    if (weight->is_quantized()) return codes(module, weight, is_rest ? "auto" : options_.linear_type);
    kept(module, weight, exact_type);
  }

  static bool has_whole_blocks(const quant::WeightParametrization& weight, GgmlType type) {
    return weight.in_features() % formats::ggml_type_info(type).block_elements == 0;
  }

  // What llama.cpp's own quantizer gives the head: Q6_K, or Q8_0 where most linears have 8 bits; the
  // embedding too. Kept are blocks of the source, linears left alone, and everything in a model that is not
  // quantized.
  std::string automatic_type(const std::string& module, const quant::WeightParametrization& weight,
                             GgmlType kept) const {
    if (quantized_ == 0 || !is_outside_layers(module) || weight.is_quantized()) return "keep";
    const bool is_float = kept == GgmlType::F32 || kept == GgmlType::F16 || kept == GgmlType::BF16;
    if (!is_float || !has_whole_blocks(weight, GgmlType::Q8_0)) return "keep";
    return 2 * wide_ > quantized_ ? "q8_0" : "q6_k";
  }

  void kept(const std::string& module, const WeightPtr& weight, GgmlType type) {
    const formats::SourceTensor* stored = weight->file_tensor();
    if (stored == nullptr || stored->type != type) return values(module, weight, type);
    ExportTensor& tensor = values_tensor(module, weight, type);
    tensor.write = [weight, copy = tensor](const ByteSink& sink) {
      write_stored(*weight->file_tensor(), copy, sink);
    };
  }

  ExportTensor& values_tensor(const std::string& module, const WeightPtr& weight, GgmlType type) {
    const std::int64_t block = formats::ggml_type_info(type).block_elements;
    if (weight->in_features() % block != 0) {
      fail(module, ": in_features ", weight->in_features(), " is not a multiple of ", block,
           ", the block of ", formats::ggml_type_name(type), "; use `rest-type` f16 or bf16");
    }
    ExportTensor& tensor = add(module + ".weight", {weight->out_features(), weight->in_features()}, type);
    tensor.from_integers = weight->is_quantized();
    tensor.values = [weight, copy = tensor](std::int64_t begin, std::int64_t end) {
      return gather_rows(*weight, copy, begin, end);
    };
    return tensor;
  }

  void values(const std::string& module, const WeightPtr& weight, GgmlType type) {
    ExportTensor& tensor = values_tensor(module, weight, type);
    tensor.write = [copy = tensor](const ByteSink& sink) { write_values(copy, sink); };
  }

  void codes(const std::string& module, const WeightPtr& weight, const std::string& linear_type) {
    const QuantizedWeight quantized = weight->convert();
    const std::string obstacle = block_obstacle(quantized, linear_type);
    if (!obstacle.empty()) fail(module, ": ", obstacle);
    const formats::CodeBlockType& blocks = choose_block_type(quantized, linear_type);
    ExportTensor& tensor = values_tensor(module, weight, blocks.type);
    if (linear_type == "auto") tensor.smaller = smaller_types(quantized, blocks);
    tensor.codes = [weight] { return weight->convert(); };
    tensor.write = [copy = tensor](const ByteSink& sink) { write_codes(copy, sink); };
  }

  // llama.cpp has the stretched frequencies of two kinds as tensors.
  void rope_tensors() {
    const formats::ModelConfig& config = decoder_.config();
    const RopeScaling& scaling = config.rope_scaling;
    if (scaling.rope_type == "llama3")
      rope_tensor("rope_freqs.weight", formats::llama3_rope_divisors(config, scaling));
    if (scaling.rope_type != "longrope") return;
    rope_tensor("rope_factors_long.weight", scaling.long_factor);
    rope_tensor("rope_factors_short.weight", scaling.short_factor);
  }

  void rope_tensor(const std::string& name, const std::vector<double>& divisors) {
    at::Tensor values = at::empty({static_cast<std::int64_t>(divisors.size())}, at::kFloat);
    for (std::size_t i = 0; i < divisors.size(); ++i) {
      values.mutable_data_ptr<float>()[i] = static_cast<float>(divisors[i]);
    }
    ExportTensor tensor;
    tensor.name = name;
    tensor.shape = {values.numel()};
    tensor.values = [values](std::int64_t, std::int64_t) { return values; };
    tensor.write = [values](const ByteSink& sink) {
      sink({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
    };
    tensors_.push_back(std::move(tensor));
  }

  const model::Decoder& decoder_;
  const ExportOptions& options_;
  std::int64_t quantized_ = 0, wide_ = 0;  // weights in quantized linears, and in those of more than 6 bits
  std::vector<ExportTensor> tensors_;
};

}  // namespace

std::vector<ExportTensor> gguf_tensors(const model::Decoder& decoder, const ExportOptions& options) {
  return Planner(decoder, options).plan();
}

}  // namespace lrqat::exporting
