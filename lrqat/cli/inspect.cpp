// lrqat inspect: what a file, folder or run holds.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/base/sha256.h"
#include "lrqat/cli/cli.h"
#include "lrqat/formats/gguf.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/converted_format.h"
#include "lrqat/train/run.h"

namespace lrqat::cli {
namespace {

namespace fs = std::filesystem;

// One tensor of the document; the grid's keys are null where it holds no trained integers.
Json entry(const std::string& name, std::string_view dtype, const std::vector<std::int64_t>& shape,
           std::span<const std::byte> data) {
  return {{"name", name},
          {"dtype", dtype},
          {"shape", shape},
          {"num_bits", nullptr},
          {"granularity", nullptr},
          {"group_size", nullptr},
          {"sha256", sha256_hex(data)}};
}

struct Inspected {
  std::string kind;
  Json tensors = Json::array();
  double bits = 0;     // of all weights
  double weights = 0;  // scales and the like are no weights, but their bits count

  void add(Json tensor, std::size_t bytes, double weight_count) {
    tensors.push_back(std::move(tensor));
    bits += 8.0 * static_cast<double>(bytes);
    weights += weight_count;
  }
};

void add_safetensors(const formats::SafetensorsFile& file, const std::string& prefix, Inspected& out) {
  for (const formats::TensorView& tensor : file.tensors()) {
    out.add(entry(prefix + tensor.name, formats::dtype_name(tensor.dtype), tensor.shape, tensor.data),
            tensor.data.size(), static_cast<double>(tensor.elements()));
    file.release(tensor);
  }
}

Inspected inspect_gguf(const fs::path& path) {
  const formats::GgufFile file(path);
  Inspected out{.kind = "gguf"};
  for (const formats::GgufTensor& tensor : file.tensors()) {
    out.add(entry(tensor.name, formats::ggml_type_name(tensor.type), tensor.shape, tensor.data),
            tensor.data.size(), static_cast<double>(tensor.elements()));
    file.release(tensor);
  }
  return out;
}

Inspected inspect_folder(const fs::path& path) {
  const formats::ShardedSafetensors files(path);
  Inspected out{.kind = "huggingface"};
  for (const auto& file : files.files()) add_safetensors(*file, "", out);
  return out;
}

bool has_suffix(const std::string& name, std::string_view suffix) { return name.ends_with(suffix); }

// Integers know their grid from the config; scales count as bits, not as weights.
Inspected inspect_converted(const fs::path& path) {
  Inspected out = inspect_folder(path);
  out.kind = "converted";
  const std::string where = (path / "config.json").string();
  const auto config = model::quantization_config_from_json(
      json_get<Json>(read_json_file(path / "config.json"), "quantization_config", where), where);
  std::map<std::string, model::ConvertedLayer> layers;
  for (const auto* list : {&config.converted.layers, &config.blocks}) {
    for (const model::ConvertedLayer& layer : *list) layers.emplace(layer.name, layer);
  }
  out.weights = 0;
  for (Json& tensor : out.tensors) {
    const auto name = tensor["name"].get<std::string>();
    double count = 1;
    for (const std::int64_t size : tensor["shape"].get<std::vector<std::int64_t>>())
      count *= static_cast<double>(size);
    if (has_suffix(name, ".weight_packed")) count *= 2;
    if (!has_suffix(name, ".weight_scale")) out.weights += count;
    const auto layer = layers.find(name.substr(0, name.rfind('.')));
    const bool integers = has_suffix(name, ".weight_packed") || has_suffix(name, ".weight_int");
    if (layer == layers.end() || !integers) continue;
    const Json grid = model::to_json(layer->second);
    for (const char* key : {"num_bits", "granularity", "group_size"}) tensor[key] = grid[key];
  }
  return out;
}

// A run as it would be opened: prepared tensors and the last checkpoint's trainables.
Inspected inspect_run(const fs::path& path) {
  const train::Run run = train::Run::open(path);
  Inspected out{.kind = "run"};
  std::vector<fs::path> files{path / "prepared.safetensors"};
  if (run.has_checkpoint()) files.push_back(run.last_checkpoint() / "trainables.safetensors");
  for (const fs::path& file : files) {
    if (fs::exists(file)) add_safetensors(formats::SafetensorsFile(file), "", out);
  }
  const train::Recipe& recipe = run.recipe();
  out.weights = 0;
  const bool packed =
      recipe.phi == quant::Downcast::int4 || (recipe.phi == quant::Downcast::integer && recipe.bits <= 4);
  for (Json& tensor : out.tensors) {
    if (!has_suffix(tensor["name"].get<std::string>(), ".phi_0")) continue;
    const auto shape = tensor["shape"].get<std::vector<double>>();
    out.weights += shape[0] * shape[1] * (packed ? 2 : 1);
    tensor["num_bits"] = recipe.bits;
    const bool group = recipe.granularity.kind == quant::Granularity::Kind::group;
    tensor["granularity"] = group ? "group" : recipe.granularity.name();
    tensor["group_size"] = recipe.granularity.group_size;
  }
  return out;
}

Inspected inspect(const fs::path& path) {
  if (!fs::exists(path)) fail(path.string(), ": no such file or folder");
  if (train::Run::is_run(path)) return inspect_run(path);
  if (model::is_converted_folder(path)) return inspect_converted(path);
  if (fs::is_directory(path)) return inspect_folder(path);
  if (path.extension() != ".safetensors") return inspect_gguf(path);
  Inspected out{.kind = "safetensors"};
  add_safetensors(formats::SafetensorsFile(path), "", out);
  return out;
}

std::string shape_text(const Json& shape) {
  std::string out;
  for (const Json& size : shape) out += (out.empty() ? "" : " x ") + size.dump();
  return out;
}

void print_text(const Json& json) {
  for (const Json& tensor : json["tensors"]) {
    std::cout << tensor["name"].get<std::string>() << "  " << tensor["dtype"].get<std::string>() << "  "
              << shape_text(tensor["shape"]);
    if (!tensor["num_bits"].is_null()) {
      std::cout << "  " << tensor["num_bits"] << " bits a weight, scale a "
                << tensor["granularity"].get<std::string>();
      if (tensor["group_size"] != 0) std::cout << " of " << tensor["group_size"];
    }
    std::cout << "  sha256 " << tensor["sha256"].get<std::string>().substr(0, 16) << "\n";
  }
  std::cout << json["kind"].get<std::string>() << ", " << json["tensors"].size() << " tensors, "
            << json["bits_per_weight"] << " bits a weight\n";
}

}  // namespace

Action declare_inspect(CLI::App& command) {
  auto path = std::make_shared<std::string>();
  command
      .add_option("path", *path, "a GGUF or safetensors file, a model folder, a converted folder or a run")
      ->required();
  return [path](Context& context) {
    Inspected found = inspect(*path);
    const Json json{{"kind", found.kind},
                    {"path", *path},
                    {"tensors", std::move(found.tensors)},
                    {"bits_per_weight", found.weights > 0 ? found.bits / found.weights : 0.0}};
    context.options.json ? context.print_json(json) : print_text(json);
  };
}

}  // namespace lrqat::cli
