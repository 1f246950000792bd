// lrqat inspect: what a file or folder holds, tensor by tensor. A run and the folder that it converts to show
// the same integers and scales under the same checksums.
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iomanip>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <sstream>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/base/sha256.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/inspect_compare.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/ggml_integers.h"
#include "lrqat/model/activations.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/open.h"
#include "lrqat/model/packed_config.h"
#include "lrqat/train/metrics.h"
#include "lrqat/train/run.h"

namespace lrqat::cli {
namespace {

namespace fs = std::filesystem;

struct Row {
  std::string name;
  std::string dtype;  // as the format calls it; int4 (two a byte) or int8 for integers of ours
  std::vector<std::int64_t> shape;
  std::size_t bytes = 0;        // scales included
  std::string sha256;           // of the stored bytes; of integers and scales where they are ours
  std::optional<int> num_bits;  // nothing where it holds floats
  std::optional<quant::Granularity> granularity;  // of the scales
  std::vector<std::int64_t> histogram;            // of codes, from the grid's smallest on; empty: no integers
  double clipped_fraction = 0;                    // of weights that training or rounding clipped, where known
  Json training;  // of a run: what its last report says of this layer, or null

  // Codes on the two ends of the grid, clipped weights among them: what every file tells.
  double edge_fraction() const {
    const std::int64_t total = std::accumulate(histogram.begin(), histogram.end(), std::int64_t{0});
    return total == 0
               ? 0.0
               : static_cast<double>(histogram.front() + histogram.back()) / static_cast<double>(total);
  }

  std::int64_t elements() const {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    return count;
  }
};

struct Inspection {
  std::string kind;
  std::string sha256;  // of all trained integers and scales; empty: none here
  std::vector<Row> rows;
  model::StoredActivations activations{};
};

// Under the files' names, or those of a text model.
template <typename Tensors>
std::vector<Row> rows_of_tensors(const Tensors& tensors) {
  std::vector<Row> rows;
  for (const std::string& name : tensors.names()) {
    const formats::TensorView& view = tensors.at(name);
    rows.push_back({.name = name,
                    .dtype = std::string(formats::dtype_name(view.dtype)),
                    .shape = view.shape,
                    .bytes = view.data.size(),
                    .sha256 = sha256_hex(view.data)});
    tensors.release(name);
  }
  return rows;
}

// What a tensor of integer blocks has: bits, groups, and how often each number stands in it.
void describe_blocks(formats::GgmlType type, std::span<const std::byte> data, Row& row) {
  const formats::IntegerBlockType* blocks = formats::find_integer_block_type(type);
  if (blocks == nullptr || row.shape.size() != 2 || data.empty()) return;
  row.num_bits = blocks->num_bits;
  row.granularity = {quant::Granularity::Kind::group, blocks->group_size};
  row.histogram.assign(std::size_t{1} << blocks->num_bits, 0);
  const auto cols = static_cast<std::size_t>(row.shape[1]),
             groups = cols / static_cast<std::size_t>(blocks->group_size);
  const std::size_t row_bytes = formats::ggml_row_bytes(type, row.shape[1]);
  std::vector<std::uint8_t> numbers(cols);
  std::vector<float> scales(groups), offsets(groups);
  for (std::size_t at = 0; at < data.size(); at += row_bytes) {
    formats::read_integers(*blocks, data.data() + at, numbers, scales, offsets);
    for (const std::uint8_t number : numbers) ++row.histogram[number];
  }
}

std::vector<Row> rows_of(const formats::GgufFile& file) {
  std::vector<Row> rows;
  for (const formats::GgufTensor& tensor : file.tensors()) {
    Row& row = rows.emplace_back(Row{.name = tensor.name,
                                     .dtype = std::string(formats::ggml_type_name(tensor.type)),
                                     .shape = tensor.shape,
                                     .bytes = tensor.data.size(),
                                     .sha256 = sha256_hex(tensor.data)});
    describe_blocks(tensor.type, tensor.data, row);
    file.release(tensor);
  }
  return rows;
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::vector<std::int64_t> histogram_of(const at::Tensor& codes, const quant::Grid& grid) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(grid.quant_max - grid.quant_min + 1));
  const std::int8_t* data = codes.const_data_ptr<std::int8_t>();
  for (std::int64_t i = 0; i < codes.numel(); ++i)
    ++counts[static_cast<std::size_t>(data[i] - grid.quant_min)];
  return counts;
}

// Codes (int8) and scales (float32), whatever file they lie in.
Row integer_row(const std::string& name, const quant::QuantizedWeight& weight) {
  const at::Tensor codes = weight.weight_int.cpu().contiguous(), scale = weight.scale.cpu().contiguous();
  const bool packed = weight.grid.num_bits <= 4;
  const bool half = at::equal(scale.to(at::kHalf).to(at::kFloat), scale);
  const std::int64_t row_bytes = packed ? (codes.size(1) + 1) / 2 : codes.size(1);
  std::int64_t bytes = codes.size(0) * row_bytes + scale.numel() * (half ? 2 : 4);
  Sha256 sha256;
  sha256.update(bytes_of(codes)).update(bytes_of(scale));
  for (const at::Tensor& shift : {weight.zero_point, weight.offset}) {
    if (!shift.defined()) continue;
    const at::Tensor plain = shift.cpu().contiguous();
    sha256.update(bytes_of(plain));
    bytes += static_cast<std::int64_t>(plain.nbytes());
  }
  return {.name = name,
          .dtype = packed ? "int4" : "int8",
          .shape = codes.sizes().vec(),
          .bytes = static_cast<std::size_t>(bytes),
          .sha256 = sha256.hex_digest(),
          .num_bits = weight.grid.num_bits,
          .granularity = weight.granularity,
          .histogram = histogram_of(codes, weight.grid),
          .clipped_fraction = weight.clipped_fraction};
}

std::unordered_map<std::string, const quant::WeightParametrization*> quantized_weights(
    const model::Decoder& decoder) {
  std::unordered_map<std::string, const quant::WeightParametrization*> weights;
  const auto add = [&](const std::string& module, const quant::WeightParametrization& weight) {
    if (weight.is_quantized()) weights.emplace(module + ".weight", &weight);
  };
  for (const nn::Linear* linear : decoder.linears()) add(linear->name(), *linear->weight());
  add("model.embed_tokens", *decoder.embedding().weight());
  add("lm_head", *decoder.lm_head().weight());
  return weights;
}

Row float_row(const formats::WeightSource& source, const std::string& name) {
  const formats::SourceTensor raw = source.raw(name);
  Row row{.name = name,
          .dtype = source.dtype_name(name),
          .shape = raw.shape,
          .bytes = raw.data.size(),
          .sha256 = sha256_hex(raw.data)};
  describe_blocks(raw.type, raw.data, row);
  source.release(name);
  return row;
}

// A norm, embedding or head that the run trained or rescaled.
Row own_row(const std::string& name, const at::Tensor& value) {
  const at::Tensor plain = value.detach().cpu().contiguous();
  return {.name = name,
          .dtype = "F32",
          .shape = plain.sizes().vec(),
          .bytes = plain.nbytes(),
          .sha256 = sha256_hex(bytes_of(plain))};
}

// A run or a folder of integers: integers from the model, everything else from the files.
Inspection inspect_quantized(const model::OpenedModel& model) {
  const auto quantized = quantized_weights(*model.decoder);
  std::unordered_map<std::string, Row> stored;
  if (model.source == nullptr) {
    if (model.kind == "converted") model::check_converted(model.path, *model.decoder);
    const bool has_other_parts = formats::read_folder_config(model.path).has_other_parts;
    const formats::CheckpointTensors tensors(model.path, model.decoder->config(), has_other_parts);
    for (Row& row : rows_of_tensors(tensors)) stored.emplace(row.name, std::move(row));
  }
  Inspection result{model.kind, model::summarize(*model.decoder).sha256, {}, {}};
  result.activations = model::stored_activations(*model.decoder);
  for (const auto& tensor : formats::expected_tensors(model.decoder->config())) {
    if (const auto found = quantized.find(tensor.name); found != quantized.end()) {
      result.rows.push_back(integer_row(tensor.name, found->second->convert()));
    } else if (const auto own = model.decoder->replaced().find(tensor.name);
               own != model.decoder->replaced().end()) {
      result.rows.push_back(own_row(tensor.name, own->second));
    } else {
      result.rows.push_back(model.source != nullptr ? float_row(*model.source, tensor.name)
                                                    : stored.at(tensor.name));
    }
  }
  return result;
}

// What the run wrote down about each layer at its last evaluation.
void add_training(const fs::path& run, Inspection& inspection) {
  const auto report = train::last_layer_report(run);
  for (Row& row : inspection.rows) {
    const auto found = report.find(row.name.substr(0, row.name.rfind('.')));
    if (found != report.end()) row.training = found->second;
  }
}

Inspection inspect(const fs::path& path) {
  if (!fs::exists(path)) fail(path.string(), ": there is no such file or folder");
  if (train::Run::is_run(path)) {
    Inspection inspection = inspect_quantized(model::open_model(path));
    add_training(path, inspection);
    return inspection;
  }
  if (model::is_converted_folder(path)) {
    return inspect_quantized(model::open_model(path));
  }
  if (model::is_packed_folder(path)) {
    Inspection inspection = inspect_quantized(model::open_model(path));
    const fs::path config = path / "config.json";
    inspection.kind = model::packed_config_from_json(read_json_file(config), config.string())->layout;
    return inspection;
  }
  if (path.extension() == ".safetensors")
    return {"safetensors", "", rows_of_tensors(formats::ShardedSafetensors(path)), {}};
  if (fs::exists(path / "model.safetensors") || fs::exists(path / "model.safetensors.index.json")) {
    return {"huggingface", "", rows_of_tensors(formats::ShardedSafetensors(path)), {}};
  }
  if (fs::is_regular_file(path)) return {"gguf", "", rows_of(formats::GgufFile(path)), {}};
  // Its errors say what a model folder holds.
  return {"gguf", "", rows_of(formats::GgufFile(formats::open_weight_source(path)->path())), {}};
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json to_json(const Row& row) {
  Json json{{"name", row.name},       {"dtype", row.dtype},
            {"shape", row.shape},     {"num_bits", or_null(row.num_bits)},
            {"granularity", nullptr}, {"group_size", nullptr},
            {"bytes", row.bytes},     {"sha256", row.sha256}};
  if (row.granularity) {
    const std::string name = row.granularity->name();
    json["granularity"] = name.substr(0, name.find(':'));
    if (row.granularity->kind == quant::Granularity::Kind::group)
      json["group_size"] = row.granularity->group_size;
  }
  if (!row.histogram.empty()) {
    json["histogram"] = row.histogram;
    json["clipped_fraction"] = row.clipped_fraction;
    json["edge_fraction"] = row.edge_fraction();
  }
  if (!row.training.is_null()) json["training"] = row.training;
  return json;
}

Json to_json(const Inspection& inspection, const std::string& path) {
  Json tensors = Json::array();
  std::int64_t weights = 0;
  std::size_t bytes = 0;
  for (const Row& row : inspection.rows) {
    tensors.push_back(to_json(row));
    weights += row.elements();
    bytes += row.bytes;
  }
  const double bits = weights == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
  Json json{{"path", path}, {"kind", inspection.kind}, {"bytes", bytes}, {"weights", weights}};
  json["bits_per_weight"] = bits;
  if (!inspection.sha256.empty()) json["sha256"] = inspection.sha256;
  if (inspection.activations.options.any()) json["activations"] = model::to_json(inspection.activations);
  json["tensors"] = std::move(tensors);
  return json;
}

// Counts as bars of eight heights, at most sixteen of them.
std::string bars(const std::vector<std::int64_t>& counts) {
  constexpr std::array kBars{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::size_t per_bar = std::max<std::size_t>(1, counts.size() / 16);
  std::vector<std::int64_t> sums((counts.size() + per_bar - 1) / per_bar);
  for (std::size_t i = 0; i < counts.size(); ++i) sums[i / per_bar] += counts[i];
  const std::int64_t most = std::max<std::int64_t>(1, *std::max_element(sums.begin(), sums.end()));
  std::string text;
  for (const std::int64_t sum : sums) text += kBars[static_cast<std::size_t>(sum * 7 / most)];
  return text;
}

std::string integers_text(const Row& row) {
  if (row.histogram.empty()) return {};
  std::ostringstream text;
  text << " " << bars(row.histogram) << " " << std::setprecision(3) << 100 * row.edge_fraction()
       << " % at the ends";
  if (row.clipped_fraction > 0) {
    text << ", " << 100 * row.clipped_fraction << " % clipped";
  }
  if (row.training.contains("clipped_at_start"))
    text << ", " << 100 * row.training["clipped_at_start"].get<double>() << " % at the start";
  if (row.training.contains("update_mean")) {
    text << std::setprecision(3) << ", |γAB| " << row.training["update_mean"] << " of a step, at most "
         << row.training["update_max"];
  }
  return text.str();
}

void print_text(const Inspection& inspection, const Json& json) {
  for (const Row& row : inspection.rows) {
    std::cout << std::left << std::setw(52) << row.name << " " << std::setw(5) << row.dtype << " "
              << std::setw(16) << formats::shape_to_string(row.shape) << " " << std::setw(16)
              << (row.granularity ? concat(*row.num_bits, "-bit ", row.granularity->name()) : "") << " "
              << row.sha256.substr(0, 12) << integers_text(row) << "\n";
  }
  std::cout << inspection.kind << ", " << inspection.rows.size() << " tensors, " << json["weights"]
            << " weights, " << rounded(json["bits_per_weight"], 2) << " bits a weight\n";
  if (const auto& options = inspection.activations.options; options.any()) {
    std::cout << "activations " << quant::activation_setting_name(options) << ", "
              << quant::activation_range_name(options.range) << " ranges\n";
  }
  if (!inspection.sha256.empty()) std::cout << "sha256 of integers and scales " << inspection.sha256 << "\n";
}

}  // namespace

Action declare_inspect(CLI::App& command) {
  auto path = std::make_shared<std::string>();
  auto compared = std::make_shared<std::vector<std::string>>();
  auto* option =
      command.add_option("path", *path,
                         "a .safetensors or GGUF file, a run, or a folder: Hugging Face, converted, "
                         "compressed-tensors, GPTQ, AWQ");
  command.add_option("--compare", *compared, "two models: says tensor by tensor, bit-exactly, what differs")
      ->expected(2)
      ->excludes(option);
  return [path, compared](Context& context) {
    const at::NoGradGuard no_grad;
    if (!compared->empty()) return run_compare(compared->at(0), compared->at(1), context);
    if (path->empty()) throw UsageError("inspect takes a path, or --compare A B");
    const Inspection inspection = inspect(*path);
    const Json json = to_json(inspection, *path);
    context.options.json ? context.print_json(json) : print_text(inspection, json);
  };
}

}  // namespace lrqat::cli
