// The exporters of compressed-tensors, GPTQ and AWQ folders: a row of model::packed_layouts() each.
#include <ATen/ATen.h>

#include <algorithm>

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
    for_each_file_tensor(
        decoder, [this](const std::string& module, const Matrices& weights) { matrix(module, weights); },
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
  void matrix(const std::string& module, const Matrices& weights) {
    const bool is_linear = !is_outside_layers(module);
    const auto quantized = std::count_if(weights.begin(), weights.end(),
                                         [](const WeightPtr& weight) { return weight->is_quantized(); });
    if (!is_linear || quantized == 0) {
      if (is_linear) skipped_.push_back(module);
      plan_.tensors.push_back(float_matrix(module + ".weight", weights));
      return;
    }
    if (quantized < std::ssize(weights)) {
      fail(module,
           ": is one matrix in files of this family, but only some of its parts are quantized: hf and "
           "the converted folder (lrqat convert) hold this model");
    }
    const model::UnsignedCodes codes = one_under_the_other(module, weights);
    add_to_group(module, {codes.num_bits, codes.group_size, codes.is_symmetric()});
    half_ = half_ && is_exact_in(codes.scale, at::kHalf);
    bfloat16_ = bfloat16_ && is_exact_in(codes.scale, at::kBFloat16);
    const std::vector<model::PackedTensor> packed = layout_.pack(codes);
    for (std::size_t i = 0; i < packed.size(); ++i) {
      // Packed again when it is written, so that one linear's integers exist at a time.
      plan_.tensors.push_back({module + packed[i].suffix, model::dtype_of(packed[i].value.scalar_type()),
                               packed[i].value.sizes().vec(),
                               [this_layout = &layout_, module, weights, i](const FolderSink& sink) {
                                 const auto again = this_layout->pack(one_under_the_other(module, weights));
                                 sink(again[i].value.contiguous());
                               }});
    }
  }

  static bool is_outside_layers(const std::string& module) {
    return module == "model.embed_tokens" || module == "lm_head";
  }

  // The integers of a fused matrix: its parts must have the same grid.
  static model::UnsignedCodes one_under_the_other(const std::string& module, const Matrices& weights) {
    model::UnsignedCodes all = model::to_unsigned(weights.front()->convert());
    for (std::size_t i = 1; i < weights.size(); ++i) {
      const model::UnsignedCodes next = model::to_unsigned(weights[i]->convert());
      if (next.num_bits != all.num_bits || next.group_size != all.group_size) {
        fail(module,
             ": is one matrix in files of this family, but its parts differ in bits or groups: hf and the "
             "converted folder (lrqat convert) hold this model");
      }
      all.codes = at::cat({all.codes, next.codes});
      all.scale = at::cat({all.scale, next.scale});
      all.zero_point = at::cat({all.zero_point, next.zero_point});
    }
    return all;
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
      fail("`dtype` ", options.dtype,
           " does not hold the scales of this model, so programs would round them: "
           "use `dtype` ",
           half_       ? "float16"
           : bfloat16_ ? "bfloat16"
                       : "float32",
           " or float32");
    }
    return options.dtype;
  }

  const PackedLayout& layout_;
  std::vector<std::string> skipped_;
  std::vector<PackedGroup> groups_;
  FolderPlan plan_;
  bool half_ = true, bfloat16_ = true;  // what holds every scale
};

}  // namespace

Exporter packed_exporter(const std::string& name) {
  const PackedLayout& layout = model::packed_layout(name);
  return {name, model::OutputKind::folder,
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
