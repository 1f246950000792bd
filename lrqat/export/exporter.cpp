#include "lrqat/export/exporter.h"

#include "lrqat/base/error.h"

namespace lrqat::exporting {
namespace {

const std::vector<Exporter>& exporters() {
  static const std::vector<Exporter> table = {{"gguf", export_gguf}};
  return table;
}

}  // namespace

Json to_json(const ExportReport& report) {
  return {{"format", report.format},    {"path", report.path.string()},
          {"bytes", report.bytes},      {"bits_per_weight", report.bits_per_weight},
          {"tensors", report.tensors},  {"bit_exact_tensors", report.bit_exact_tensors},
          {"warnings", report.warnings}};
}

std::string known_exporters() {
  std::string names;
  for (const Exporter& exporter : exporters()) names += (names.empty() ? "" : ", ") + exporter.name;
  return names;
}

const Exporter& find_exporter(const std::string& name) {
  for (const Exporter& exporter : exporters()) {
    if (exporter.name == name) return exporter;
  }
  throw UsageError(concat("--format \"", name, "\" is not known: use one of ", known_exporters()));
}

}  // namespace lrqat::exporting
