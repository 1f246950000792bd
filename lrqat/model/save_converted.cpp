#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/sha256.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/converted_format.h"
#include "lrqat/model/general_metadata.h"
#include "lrqat/model/output.h"
#include "lrqat/model/tensor_file.h"
#include "lrqat/model/tokenizer_files.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;
using formats::DType;

// Why there are no integers, where a weight knows more than that it is float.
[[noreturn]] void fail_nothing_quantized(const Decoder& decoder) {
  for (const nn::Linear* linear : decoder.linears()) {
    const std::string obstacle = linear->weight()->obstacle();
    if (!obstacle.empty()) fail("nothing to convert: ", linear->name(), ": ", obstacle);
  }
  fail("nothing to convert: no linear of this model is quantized");
}

void require_finite(const at::Tensor& values, const std::string& name, const std::string& what) {
  if (!values.defined() || values.isfinite().all().item<bool>()) return;
  const at::Tensor bad = values.detach().masked_select(values.isfinite().logical_not());
  fail(name, ": ", what, " holds ", bad[0].item<float>(), " (", bad.numel(), " of ", values.numel(),
       " numbers are not finite), so there are no integers to make of it: the training diverged; take "
       "another run, "
       "or train with a smaller `lr` or `scale-lr`");
}

// Feeds the layers' integers to one checksum, layer after layer.
class Checksum {
 public:
  void add(const std::string& name, const quant::QuantizedWeight& weight) {
    const std::string head = concat(name, " ", weight.grid.num_bits, "\n");
    sha256_.update(std::as_bytes(std::span(head.data(), head.size())));
    sha256_.update(TensorBytes(weight.weight_int));
    sha256_.update(TensorBytes(weight.scale));
    if (weight.zero_point.defined()) sha256_.update(TensorBytes(weight.zero_point.to(at::kChar)));
    if (weight.offset.defined()) sha256_.update(TensorBytes(weight.offset));
  }
  std::string hex_digest() { return sha256_.hex_digest(); }

 private:
  Sha256 sha256_;
};

ConvertedLayer describe(const std::string& name, const quant::QuantizedWeight& weight) {
  return {name,
          weight.grid,
          weight.granularity,
          weight.clipped_fraction,
          weight.zero_point.defined(),
          weight.offset.defined()};
}

// Q8_0 blocks as what they are: 8-bit integers with a float16 scale for 32 of them along a row.
quant::QuantizedWeight blocks_as_integers(const formats::SourceTensor& raw) {
  constexpr std::int64_t kBlock = 32;
  const std::int64_t rows = raw.shape[0], cols = raw.shape[1];
  at::Tensor codes = at::empty({rows, cols}, at::kChar), scale = at::empty({rows, cols / kBlock}, at::kHalf);
  auto* scale_words = reinterpret_cast<std::uint16_t*>(scale.data_ptr<at::Half>());
  const std::size_t row_bytes = formats::ggml_row_bytes(raw.type, cols);
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto offset = static_cast<std::size_t>(raw.source_row(row)) * row_bytes;
    formats::decode_q8_0(raw.data.data() + offset,
                         {codes.data_ptr<std::int8_t>() + row * cols, static_cast<std::size_t>(cols)},
                         {scale_words + row * (cols / kBlock), static_cast<std::size_t>(cols / kBlock)});
  }
  return {quant::Grid::signed_symmetric(8),
          {quant::Granularity::Kind::group, kBlock},
          codes,
          scale.to(at::kFloat),
          0.0};
}

// Rows of a source tensor about 4 MiB at a time.
void for_row_chunks(const formats::WeightSource& source, const std::string& name,
                    const std::function<void(const at::Tensor&)>& visit) {
  const auto shape = source.shape(name);
  const std::int64_t cols = shape.size() > 1 ? shape[1] : 1;
  const std::int64_t step = std::max<std::int64_t>(1, (1 << 20) / cols);
  for (std::int64_t begin = 0; begin < shape[0]; begin += step) {
    visit(read_rows(source, name, begin, std::min(begin + step, shape[0])));
  }
  source.release(name);
}

// The smallest float type that holds every value of the tensor, for storage that safetensors does not have.
at::ScalarType exact_type(const formats::WeightSource& source, const std::string& name) {
  bool half = true, bfloat16 = true;
  for_row_chunks(source, name, [&](const at::Tensor& rows) {
    half = half && at::equal(rows.to(at::kHalf).to(at::kFloat), rows);
    bfloat16 = bfloat16 && at::equal(rows.to(at::kBFloat16).to(at::kFloat), rows);
  });
  return half ? at::kHalf : bfloat16 ? at::kBFloat16 : at::kFloat;
}

// Gathers what the file will hold (its header comes first), then writes it.
class ConvertedWriter {
 public:
  ConvertedWriter(const Decoder& decoder, const formats::WeightSource& source)
      : source_(source), replaced_(decoder.replaced()) {
    for (const nn::Linear* linear : decoder.linears()) {
      if (!linear->weight()->is_quantized()) continue;
      check_trained(*linear);
      quantized_.emplace(linear->name(), linear);
    }
    if (quantized_.empty()) fail_nothing_quantized(decoder);
    for (const auto& tensor : formats::expected_tensors(source.config())) add(tensor.name);
  }

  QuantizationConfig write(const fs::path& folder) {
    formats::ShardedSafetensorsWriter writer(
        folder, declarations_,
        {{"format", "pt"}, {kGeneralMetadata, to_text(general_metadata(fs::path(source_.path())))}});
    for (const auto& write_tensor : actions_) write_tensor(writer);
    writer.finish();
    config_.converted.sha256 = checksum_.hex_digest();
    return config_;
  }

 private:
  using Writer = formats::ShardedSafetensorsWriter;

  void add(const std::string& name) {
    constexpr std::string_view kWeight = ".weight";
    if (name.ends_with(kWeight)) {
      const std::string module = name.substr(0, name.size() - kWeight.size());
      if (const auto it = quantized_.find(module); it != quantized_.end()) {
        const nn::Linear* linear = it->second;
        return add_integers(
            module, [linear] { return linear->weight()->convert(); }, true);
      }
      if (const auto own = replaced_.find(name); own != replaced_.end()) return add_own(name, own->second);
      const formats::SourceTensor raw = source_.raw(name);
      if (raw.type == formats::GgmlType::Q8_0 && raw.shape.size() == 2) {
        return add_integers(
            module, [raw] { return blocks_as_integers(raw); }, false);
      }
    }
    add_float(name);
  }

  // `make` runs twice, now for the header and later for the data, so that one layer's integers exist at a
  // time.
  void add_integers(const std::string& module, std::function<quant::QuantizedWeight()> make, bool trained) {
    {
      const quant::QuantizedWeight weight = make();
      const StoredIntegers stored = to_stored(weight);
      (trained ? config_.converted.layers : config_.blocks).push_back(describe(module, weight));
      declare(module + integer_suffix(stored.packed), stored.integers);
      declare(module + ".weight_scale", stored.scale);
      if (stored.zero_point.defined()) declare(module + ".weight_zero_point", stored.zero_point);
      if (stored.offset.defined()) declare(module + ".weight_offset", stored.offset);
    }
    actions_.push_back([this, module, make = std::move(make), trained](Writer& writer) {
      const quant::QuantizedWeight weight = make();
      if (trained) checksum_.add(module, weight);
      const StoredIntegers stored = to_stored(weight);
      writer.write(module + integer_suffix(stored.packed), TensorBytes(stored.integers));
      writer.write(module + ".weight_scale", TensorBytes(stored.scale));
      if (stored.zero_point.defined())
        writer.write(module + ".weight_zero_point", TensorBytes(stored.zero_point));
      if (stored.offset.defined()) writer.write(module + ".weight_offset", TensorBytes(stored.offset));
      source_.release(module + ".weight");
    });
  }

  void add_float(const std::string& name) {
    const formats::SourceTensor raw = source_.raw(name);
    const std::optional<DType> same = formats::parse_dtype(formats::ggml_type_name(raw.type));
    if (same && raw.in_order()) {
      declarations_.push_back({name, *same, raw.shape});
      actions_.push_back([this, name, raw](Writer& writer) {
        writer.write(name, raw.data);
        source_.release(name);
      });
      return;
    }
    const at::ScalarType type = exact_type(source_, name);
    declarations_.push_back({name, dtype_of(type), raw.shape});
    actions_.push_back([this, name, type](Writer& writer) {
      for_row_chunks(source_, name,
                     [&](const at::Tensor& rows) { writer.write(name, TensorBytes(rows.to(type))); });
    });
  }

  // A norm, embedding or head of the model's own, in float32 as it was trained.
  void add_own(const std::string& name, const at::Tensor& value) {
    const at::Tensor plain = value.detach().cpu().contiguous();
    require_finite(plain, name, "it");
    declare(name, plain);
    actions_.push_back([name, plain](Writer& writer) { writer.write(name, TensorBytes(plain)); });
  }

  void declare(const std::string& name, const at::Tensor& tensor) {
    declarations_.push_back({name, dtype_of(tensor.scalar_type()), tensor.sizes().vec()});
  }

  const formats::WeightSource& source_;
  const FloatTensors& replaced_;
  std::unordered_map<std::string, const nn::Linear*> quantized_;
  std::vector<formats::TensorDeclaration> declarations_;
  std::vector<std::function<void(Writer&)>> actions_;
  QuantizationConfig config_;
  Checksum checksum_;
};

// The source's own config.json where there is one: it may hold keys that ModelConfig does not.
Json base_config(const formats::WeightSource& source) {
  const fs::path folder = source.path();
  if (!fs::is_regular_file(folder / "config.json")) return formats::config_to_json(source.config());
  Json json = formats::read_folder_config(folder).json;
  if (!source.config().tie_word_embeddings) json["tie_word_embeddings"] = false;  // as rotations leave it
  return json;
}

}  // namespace

void check_trained(const nn::Linear& linear) {
  for (const quant::Parameter& parameter : linear.weight()->parameters()) {
    require_finite(parameter.value, linear.name(), parameter.name);
  }
  const quant::QuantizedWeight weight = linear.weight()->convert();
  require_finite(weight.scale, linear.name(), "the scale");
  require_finite(weight.offset, linear.name(), "the offset");
}

std::string checksum(const Decoder& decoder, const std::vector<ConvertedLayer>& layers) {
  std::unordered_map<std::string, const nn::Linear*> linears;
  for (const nn::Linear* linear : decoder.linears()) linears.emplace(linear->name(), linear);
  Checksum sum;
  for (const ConvertedLayer& layer : layers) {
    const auto found = linears.find(layer.name);
    if (found == linears.end()) fail("\"", layer.name, "\" is no linear of this model");
    sum.add(layer.name, found->second->weight()->convert());
  }
  return sum.hex_digest();
}

ConvertedSummary summarize(const Decoder& decoder) {
  ConvertedSummary summary;
  Checksum checksum;
  for (const nn::Linear* linear : decoder.linears()) {
    if (!linear->weight()->is_quantized()) continue;
    const quant::QuantizedWeight weight = linear->weight()->convert();
    summary.layers.push_back(describe(linear->name(), weight));
    checksum.add(linear->name(), weight);
  }
  if (summary.layers.empty()) fail_nothing_quantized(decoder);
  summary.sha256 = checksum.hex_digest();
  return summary;
}

void round_adapters(Decoder& decoder) {
  for (nn::Linear* linear : decoder.linears())
    linear->set_weight(quant::merged_by_rounding(linear->name(), linear->weight()));
}

ConvertedSummary save_converted(const Decoder& decoder, const formats::WeightSource& source,
                                const fs::path& out, bool replace) {
  const at::NoGradGuard no_grad;
  check_output(out, OutputKind::folder, replace, {source.path()});
  AtomicDirectory folder(out, replace);
  ConvertedWriter writer(decoder, source);
  QuantizationConfig config = writer.write(folder.path());
  config.activations = stored_activations(decoder);
  config.rotations = online_rotations(decoder.config());
  Json json = base_config(source);
  json["quantization_config"] = to_json(config);
  write_text_file(folder.path() / "config.json", json_text(json, 2) + "\n");
  copy_tokenizer(source.path(), folder.path());
  folder.commit();
  return config.converted;
}

}  // namespace lrqat::model
