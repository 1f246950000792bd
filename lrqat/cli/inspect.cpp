// lrqat inspect: what a file or folder holds, tensor by tensor. A run and the folder that it converts to show
// the same integers and scales under the same checksums.
#include "lrqat/model/inspect.h"

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>

#include "lrqat/base/error.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/inspect_compare.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/train/metrics.h"
#include "lrqat/train/run.h"

namespace lrqat::cli {
namespace {

using model::InspectedTensor;
using model::Inspection;

// What a file, folder or run holds; of a run also what its last evaluation said about each layer.
Inspection inspect(const std::filesystem::path& path) {
  if (!train::Run::is_run(path)) return model::inspect(path);
  Inspection inspection = model::inspect(model::open_model(path));
  const auto report = train::last_layer_report(path);
  for (InspectedTensor& row : inspection.rows) {
    const auto found = report.find(row.name.substr(0, row.name.rfind('.')));
    if (found != report.end()) row.training = found->second;
  }
  return inspection;
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json to_json(const InspectedTensor& row) {
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
  for (const InspectedTensor& row : inspection.rows) {
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

std::string integers_text(const InspectedTensor& row) {
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
  for (const InspectedTensor& row : inspection.rows) {
    std::cout << std::left << std::setw(52) << row.name << " " << std::setw(5) << row.dtype << " "
              << std::setw(16) << concat(at::IntArrayRef(row.shape)) << " " << std::setw(16)
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
