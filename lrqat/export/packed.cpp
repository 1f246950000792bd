// The exporters of compressed-tensors, GPTQ and AWQ folders: a row of model::packed_layouts() each.
#include <ATen/ATen.h>

#include <set>

#include "lrqat/base/error.h"
#include "lrqat/export/folder.h"
#include "lrqat/model/converted_format.h"
#include "lrqat/model/packed_config.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using model::PackedGroup;
using model::PackedLayout;
using model::PackedScheme;
using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

class Planner {
 public:
  Planner(const PackedLayout& layout, const model::Decoder& decoder) : layout_(layout) {
    for (const nn::Linear* linear : decoder.linears()) linears_.emplace(linear->name());
    for_each_tensor(
        decoder, [this](const std::string& module, const WeightPtr& weight) { matrix(module, weight); },
        [this](const std::string& name, const at::Tensor& values) {
          plan_.tensors.push_back(float_vector(name, values));
        });
  }

  FolderPlan finish(const ExportOptions& options) {
    model::PackedConfig config{layout_.name, std::move(groups_)};
    if (config.groups.empty()) fail("nothing to export: no linear of this model is quantized");
    if (config.groups.size() == 1) {
      config.groups[0].targets = {"Linear"};
    } else if (layout_.name != "compressed-tensors") {
      fail("the linears of this model differ in bits, groups or symmetry, which ", layout_.name,
           " does not hold: gguf and compressed-tensors do");
    }
    plan_.quantization = model::packed_config_to_json(config, skipped_);
    plan_.dtype = dtype(options);
    add_warnings(config);
    return std::move(plan_);
  }

 private:
  void matrix(const std::string& module, const WeightPtr& weight) {
    const bool is_linear = linears_.contains(module);
    if (!is_linear || !weight->is_quantized()) {
      if (is_linear) skipped_.push_back(module);
      plan_.tensors.push_back(float_matrix(module + ".weight", weight));
      return;
    }
    const model::UnsignedCodes codes = model::to_unsigned(weight->convert());
    add_to_group(module, {codes.num_bits, codes.group_size, codes.is_symmetric()});
    if (codes.scale.to(at::kHalf).to(at::kFloat).ne(codes.scale).any().item<bool>()) half_ = false;
    if (!is_exact_in(codes.scale, at::kBFloat16)) bfloat16_ = false;
    const std::vector<model::PackedTensor> packed = layout_.pack(codes);
    for (std::size_t i = 0; i < packed.size(); ++i) {
      // Packed again when it is written, so that one linear's integers exist at a time.
      plan_.tensors.push_back(
          {module + packed[i].suffix, model::dtype_of(packed[i].value.scalar_type()),
           packed[i].value.sizes().vec(), [this_layout = &layout_, weight, i](const FolderSink& sink) {
             sink(this_layout->pack(model::to_unsigned(weight->convert()))[i].value.contiguous());
           }});
    }
  }

  void add_to_group(const std::string& module, const PackedScheme& scheme) {
    for (PackedGroup& group : groups_) {
      if (group.scheme.num_bits != scheme.num_bits || group.scheme.group_size != scheme.group_size ||
          group.scheme.symmetric != scheme.symmetric) {
        continue;
      }
      group.targets.push_back(module);
      return;
    }
    groups_.push_back({scheme, {module}});
  }

  void add_warnings(const model::PackedConfig& config) {
    if (layout_.name != "compressed-tensors") return;
    for (const PackedGroup& group : config.groups) {
      if (group.scheme.symmetric) continue;
      plan_.warnings.emplace_back(
          "transformers with compressed-tensors 0.20 does not load folders with zero points, its own "
          "neither");
      return;
    }
  }

  // The type that programs compute in: one that holds the scales.
  std::string dtype(const ExportOptions& options) const {
    if (options.dtype == "auto") return half_ ? "float16" : bfloat16_ ? "bfloat16" : "float32";
    const at::ScalarType type = parse_dtype_option(options.dtype);
    if ((type == at::kHalf && !half_) || (type == at::kBFloat16 && !bfloat16_)) {
      fail("--dtype ", options.dtype,
           " does not hold the scales of this model, so programs would round them: "
           "use --dtype ",
           half_       ? "float16"
           : bfloat16_ ? "bfloat16"
                       : "float32",
           " or float32");
    }
    return options.dtype;
  }

  const PackedLayout& layout_;
  std::set<std::string> linears_;
  std::vector<std::string> skipped_;
  std::vector<PackedGroup> groups_;
  FolderPlan plan_;
  bool half_ = true, bfloat16_ = true;  // what holds every scale
};

}  // namespace

Exporter packed_exporter(const std::string& name) {
  const PackedLayout& layout = model::packed_layout(name);
  return {name,
          [&layout](const model::OpenedModel& model, const fs::path& out, const ExportOptions& options,
                    ProgressReporter& progress) {
            const at::NoGradGuard no_grad;
            return write_folder(layout.name, model, Planner(layout, *model.decoder).finish(options), out,
                                progress);
          },
          [&layout](const quant::QuantizedWeight& weight, const ExportOptions&) {
            return layout.obstacle(weight);
          },
          [&layout](const ExportOptions&) { return layout.scale_types; }};
}

}  // namespace lrqat::exporting
