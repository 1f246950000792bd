#include "lrqat/train/metrics.h"

#include <chrono>
#include <cmath>
#include <fstream>
#include <sstream>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/train/tensorboard.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The lines up to step `last`. What a killed run left unfinished, a last line, is dropped here and below.
std::string kept_lines(const fs::path& path, std::int64_t last) {
  if (!fs::exists(path)) return {};
  std::istringstream lines(read_text_file(path));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const auto object = try_parse_json(line);
    if (!object || !object->is_object() || !object->contains("step") ||
        !(*object)["step"].is_number_integer())
      continue;
    if ((*object)["step"].get<std::int64_t>() <= last) kept += line + "\n";
  }
  return kept;
}

std::string json_line(nlohmann::ordered_json line, const std::map<std::string, double>& values) {
  for (const auto& [name, value] : values) {
    line[name] = std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  }
  return json_text(line) + "\n";
}

void append(const fs::path& path, const std::string& lines) {
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file << lines << std::flush;
  if (!file) fail("cannot write ", path.string());
}

}  // namespace

MetricsWriter::MetricsWriter(const fs::path& run, std::int64_t resumed_step)
    : path_(run / "metrics.jsonl"), layers_path_(run / "layers.jsonl") {
  std::error_code code;
  fs::create_directories(run, code);
  if (code) fail("cannot create folder ", run.string(), ": ", code.message());
  const bool resumed = resumed_step >= 0;
  for (const fs::path& path : {path_, layers_path_})
    write_text_file(path, resumed ? kept_lines(path, resumed_step) : "");
  if (!resumed) remove_event_files(run);
  tensorboard_ =
      std::make_unique<TensorBoardWriter>(run, seconds_since_epoch(), resumed ? resumed_step + 1 : -1);
}

MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::log(std::int64_t step, const std::map<std::string, double>& values) {
  const double now = seconds_since_epoch();
  append(path_, json_line({{"step", step}, {"time", now}}, values));
  tensorboard_->add_scalars(now, step, values);
}

void MetricsWriter::log_layers(
    std::int64_t step, const std::vector<std::pair<std::string, std::map<std::string, double>>>& layers) {
  std::string lines;
  for (const auto& [layer, values] : layers) lines += json_line({{"step", step}, {"layer", layer}}, values);
  append(layers_path_, lines);
}

std::map<std::string, Json> last_layer_report(const fs::path& run) {
  const fs::path path = run / "layers.jsonl";
  std::map<std::string, Json> report;
  if (!fs::exists(path)) return report;
  std::istringstream lines(read_text_file(path));
  for (std::string line; std::getline(lines, line);) {
    const auto object = try_parse_json(line);
    if (!object || !object->is_object() || !object->contains("layer") || !object->at("layer").is_string())
      continue;
    report[object->at("layer").get<std::string>()] = *object;  // later ones win
  }
  return report;
}

}  // namespace lrqat::train
