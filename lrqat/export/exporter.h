// Exporters: integers and scales, exactly as they are, into the file formats that other programs read. One
// row a format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/base/progress.h"
#include "lrqat/model/open.h"

namespace lrqat::exporting {

struct ExportOptions {
  std::string linear_type = "auto";  // quantized linears: auto (by bits), q4_0, q8_0
  std::string rest_type = "keep";    // other matrices: keep (as the model has them), f32, f16, bf16, q8_0
  std::string matrices;              // "f32": every matrix as float32 of its exact value, to compare programs
};

struct ExportReport {
  std::string format;
  std::filesystem::path path;
  std::int64_t bytes = 0;
  double bits_per_weight = 0;
  std::int64_t tensors = 0;
  std::int64_t bit_exact_tensors = 0;  // read back and equal to the model's own values, bit for bit
  std::vector<std::string> warnings;
};
Json to_json(const ExportReport& report);

struct Exporter {
  std::string name;  // as in --format
  ExportReport (*run)(const model::OpenedModel& model, const std::filesystem::path& out,
                      const ExportOptions& options, ProgressReporter& progress);
};

const Exporter& find_exporter(const std::string& name);  // UsageError that lists the formats
std::string known_exporters();

// GGUF (ggml docs/gguf.md): quantized linears as Q4_0 or Q8_0 blocks made from codes and scales directly. The
// file is read back and compared before it gets its name; a tensor that differs, other than by the rounding
// that rest_type asks for, is an Error and leaves nothing.
ExportReport export_gguf(const model::OpenedModel& model, const std::filesystem::path& out,
                         const ExportOptions& options, ProgressReporter& progress);

}  // namespace lrqat::exporting
