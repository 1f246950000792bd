// The exporter of adapters that stay in float (--method qlora, lora) in PEFT's layout: adapter_config.json
// and adapter_model.safetensors, and in base/ the model that they belong to, dequantized, as a Hugging Face
// folder. PEFT calls the [R, K] factor lora_A and the [N, R] one lora_B; here, as in the paper, A is [N, R].
#include <ATen/ATen.h>

#include <map>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/user_text.h"
#include "lrqat/export/exporter.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/converted_format.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using WeightPtr = std::shared_ptr<quant::WeightParametrization>;
using Adapters = std::vector<std::pair<nn::Linear*, quant::FloatAdapters>>;

constexpr const char* kAdapterFile = "adapter_model.safetensors";
constexpr const char* kBaseFolder = "base";

Adapters adapters_of(model::Decoder& decoder) {
  Adapters adapters;
  for (nn::Linear* linear : decoder.linears()) {
    if (auto lora = linear->weight()->float_adapters()) adapters.emplace_back(linear, std::move(*lora));
  }
  if (adapters.empty()) {
    fail(
        "`format` peft is for adapters that stay in float: this model has none (runs of `method` qlora and "
        "lora have); other formats hold it");
  }
  return adapters;
}

// The model without its adapters, for as long as this lives.
class WithoutAdapters {
 public:
  explicit WithoutAdapters(const Adapters& adapters) {
    for (const auto& [linear, lora] : adapters) {
      before_.emplace_back(linear, linear->weight());
      linear->set_weight(lora.base);
    }
  }
  ~WithoutAdapters() {
    for (const auto& [linear, weight] : before_) linear->set_weight(weight);
  }
  WithoutAdapters(const WithoutAdapters&) = delete;
  WithoutAdapters& operator=(const WithoutAdapters&) = delete;

 private:
  std::vector<std::pair<nn::Linear*, WeightPtr>> before_;
};

// PEFT takes the base's path as it stands, from whatever folder Python runs in.
std::string base_path(const fs::path& out) {
  return (fs::absolute(out).lexically_normal() / kBaseFolder).string();
}

Json config_of(const Adapters& adapters, const fs::path& out) {
  const quant::FloatAdapters& common = adapters.front().second;
  Json modules = Json::array(), ranks = Json::object(), alphas = Json::object();
  for (const auto& [linear, lora] : adapters) {
    modules.push_back(linear->name());
    if (lora.rank() != common.rank()) ranks[linear->name()] = lora.rank();
    if (lora.lora_alpha != common.lora_alpha) alphas[linear->name()] = lora.lora_alpha;
  }
  return {{"peft_type", "LORA"},
          {"task_type", "CAUSAL_LM"},
          {"base_model_name_or_path", base_path(out)},
          {"r", common.rank()},
          {"lora_alpha", common.lora_alpha},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"target_modules", modules},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"use_rslora", false},
          {"inference_mode", true}};
}

// Names and tensors as PEFT has them, in the model's order.
std::vector<std::pair<std::string, at::Tensor>> peft_tensors(const Adapters& adapters) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [linear, lora] : adapters) {
    const std::string prefix = "base_model.model." + linear->name();
    tensors.emplace_back(prefix + ".lora_A.weight", lora.lora_b.detach().cpu().contiguous());
    tensors.emplace_back(prefix + ".lora_B.weight", lora.lora_a.detach().cpu().contiguous());
  }
  return tensors;
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

void write_adapters(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<formats::TensorDeclaration> declared;
  for (const auto& [name, tensor] : tensors) {
    declared.push_back({name, model::dtype_of(tensor.scalar_type()), tensor.sizes().vec()});
  }
  formats::SafetensorsWriter writer(path, std::move(declared));
  for (const auto& [name, tensor] : tensors) writer.write(name, bytes_of(tensor));
  writer.finish();
}

// Each tensor read back, bit for bit.
void read_back(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  const formats::SafetensorsFile file(path);
  for (const auto& [name, tensor] : tensors) {
    const auto found = file.at(name).data;
    const auto expected = bytes_of(tensor);
    if (std::equal(found.begin(), found.end(), expected.begin(), expected.end())) continue;
    fail(path.string(), ": tensor ", quote(name),
         " read back differs; nothing was exported (this is a bug in lrqat or a broken disk)");
  }
}

ExportReport export_peft(const model::OpenedModel& model, const fs::path& out, const ExportOptions& options,
                         ProgressReporter& progress) {
  const Adapters adapters = adapters_of(*model.decoder);
  AtomicDirectory folder(out, true);
  ExportReport report;
  {
    const WithoutAdapters base(adapters);
    report = float_exporter().run(model, folder.path() / kBaseFolder, options, progress);
  }
  const auto tensors = peft_tensors(adapters);
  write_adapters(folder.path() / kAdapterFile, tensors);
  write_text_file(folder.path() / "adapter_config.json", json_text(config_of(adapters, out), 2) + "\n");
  read_back(folder.path() / kAdapterFile, tensors);
  report.warnings.push_back(concat("adapter_config.json names the base by its path, ", base_path(out),
                                   ": change base_model_name_or_path there when the folder moves"));
  report.format = "peft";
  report.path = out;
  report.tensors += static_cast<std::int64_t>(tensors.size());
  report.bit_exact_tensors += static_cast<std::int64_t>(tensors.size());
  report.bytes += static_cast<std::int64_t>(fs::file_size(folder.path() / kAdapterFile));
  folder.commit();
  return report;
}

}  // namespace

Exporter peft_exporter() {
  return {"peft", model::OutputKind::folder, export_peft,
          [](const quant::QuantizedWeight&, const ExportOptions&) {
            return std::string("`format` peft is for adapters that stay in float (`method` qlora, lora)");
          },
          [](const ExportOptions&) { return std::vector<at::ScalarType>{}; }};
}

}  // namespace lrqat::exporting
