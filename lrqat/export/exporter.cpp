#include "lrqat/export/exporter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <iomanip>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/output.h"
#include "lrqat/model/packed_layout.h"
#include "lrqat/model/rotations.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::exporting {
namespace {

std::string type_name(at::ScalarType type) {
  return type == at::kHalf ? "float16" : type == at::kBFloat16 ? "bfloat16" : "float32";
}

// True where the number comes back from the type as it was, and is finite.
at::Tensor fits(const at::Tensor& scale, at::ScalarType type) {
  return scale.to(type).to(at::kFloat).eq(scale).logical_and(scale.isfinite());
}

bool all_fit(const at::Tensor& scale, const std::vector<at::ScalarType>& types) {
  return types.empty() || std::any_of(types.begin(), types.end(), [&](at::ScalarType type) {
           return fits(scale, type).all().item<bool>();
         });
}

// The first scale that does not fit the widest of the types.
std::string scale_obstacle(const std::string& format, const at::Tensor& scale,
                           const std::vector<at::ScalarType>& types) {
  if (all_fit(scale, types)) return {};
  const at::ScalarType type = types.back();
  const at::Tensor bad = scale.masked_select(fits(scale, type).logical_not());
  return concat("scale ", std::setprecision(9), bad[0].item<float>(), " is not a ", type_name(type),
                " number, the scale type of ", format, "; train with `scale-type` ", type_name(type),
                ", so that the grid of training is the one that ships, or round it with `allow-inexact`");
}

// Of the whole model: one that holds the layer at fault may refuse the next one.
std::string formats_that_hold(const model::Decoder& decoder) {
  std::vector<std::string> names;
  for (const Exporter& exporter : exporters()) names.push_back(exporter.name);
  for (const nn::Linear* linear : decoder.linears()) {
    if (!linear->weight()->is_quantized()) continue;
    const quant::QuantizedWeight weight = linear->weight()->convert();
    std::erase_if(names,
                  [&](const std::string& name) { return !why_inexact(find_exporter(name), weight).empty(); });
  }
  std::string list;
  for (const std::string& name : names) list += name + ", ";
  return concat("formats that hold this model exactly: ", list, "and the converted folder (lrqat convert)");
}

// The weight with its scales rounded to the type; the largest change of a weight.
double round_scales(nn::Linear& linear, quant::QuantizedWeight weight, at::ScalarType type) {
  const at::Tensor rounded = weight.scale.to(type).to(at::kFloat);
  if (!rounded.isfinite().all().item<bool>()) {
    fail(linear.name(), ": a scale is beyond the range of ", type_name(type),
         ", so it cannot be rounded to it");
  }
  if (rounded.eq(0).logical_and(weight.scale.ne(0)).any().item<bool>()) {
    fail(linear.name(), ": a scale of ", weight.scale.masked_select(rounded.eq(0)).max().item<float>(),
         " is too small for ", type_name(type),
         ": rounded to it, the weights of that scale would all be zero");
  }
  const std::int64_t per_scale = weight.weight_int.size(1) / weight.scale.size(1);
  const at::Tensor step = (rounded - weight.scale).abs().repeat_interleave(per_scale, 1);
  const double change = (model::signed_codes(weight).abs() * step).max().item<double>();
  weight.scale = rounded;
  linear.set_weight(std::make_shared<quant::IntegerWeight>(linear.name(), weight));
  return change;
}

// A GGUF model whose linears are integer blocks is a model of integers: other formats take those. A model
// with trained integers keeps what it left alone as it is.
void take_blocks_as_integers(model::Decoder& decoder) {
  const auto linears = decoder.linears();
  if (std::any_of(linears.begin(), linears.end(),
                  [](const nn::Linear* linear) { return linear->weight()->is_quantized(); })) {
    return;
  }
  for (nn::Linear* linear : linears) {
    if (auto integers = linear->weight()->stored_integers())
      linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), *integers));
  }
}

// Error at the first linear that the format does not hold; with allow_inexact rounds scales instead. The
// largest change.
double make_exact(const Exporter& exporter, model::Decoder& decoder, const ExportOptions& options) {
  const auto types = exporter.scale_types(options);
  double change = 0;
  for (nn::Linear* linear : decoder.linears()) {
    if (!linear->weight()->is_quantized()) continue;
    model::check_trained(*linear);
    quant::QuantizedWeight weight = linear->weight()->convert();
    if (options.allow_inexact && exporter.obstacle(weight, options).empty() &&
        !all_fit(weight.scale, types)) {
      change = std::max(change, round_scales(*linear, std::move(weight), types.back()));
      continue;
    }
    const std::string why = why_inexact(exporter, weight, options);
    if (!why.empty()) fail(linear->name(), ": ", why, "; ", formats_that_hold(decoder));
  }
  return change;
}

std::string describe_activations(const model::Decoder& decoder) {
  const quant::ActivationOptions& activations = decoder.activations();
  return concat(quant::activation_setting_name(activations), ", ",
                quant::activation_range_name(activations.range), " ranges");
}

void check_activations(const std::string& format, const model::Decoder& decoder,
                       const ExportOptions& options) {
  if (!decoder.activations().any() || options.weights_only) return;
  fail("the activations of this model are quantized too (", describe_activations(decoder), "), and `format` ",
       format,
       " holds weights alone; only the converted folder (lrqat convert) holds both. `weights-only` "
       "exports the weights: programs then run them with float activations, another model than the one "
       "trained");
}

void check_rotations(const std::string& format, const model::Decoder& decoder) {
  const model::Rotations online = model::online_rotations(decoder.config());
  if (!online.any()) return;
  fail("this model rotates in its forward pass (`rotations` ", model::rotations_name(online),
       "), which `format` ", format,
       " cannot say: programs would run its weights without and give nonsense. Only the converted folder "
       "(lrqat "
       "convert) holds such models; `rotations` absorbed trains one that every format holds");
}

}  // namespace

Json to_json(const ExportReport& report) {
  return {{"format", report.format},    {"path", report.path.string()},
          {"bytes", report.bytes},      {"bits_per_weight", report.bits_per_weight},
          {"tensors", report.tensors},  {"bit_exact_tensors", report.bit_exact_tensors},
          {"rounded", report.rounded},  {"largest_change", report.largest_change},
          {"warnings", report.warnings}};
}

const std::vector<Exporter>& exporters() {
  static const std::vector<Exporter> table = [] {
    std::vector<Exporter> rows{gguf_exporter()};
    for (const model::PackedLayout& layout : model::packed_layouts()) {
      rows.push_back(packed_exporter(layout.name));
    }
    rows.push_back(float_exporter());
    return rows;
  }();
  return table;
}

const Exporter& adapter_exporter() {
  static const Exporter row = peft_exporter();
  return row;
}

std::string known_exporters() {
  std::string names;
  for (const Exporter& exporter : exporters()) names += exporter.name + ", ";
  return names + adapter_exporter().name;
}

const Exporter& find_exporter(const std::string& name) {
  for (const Exporter& exporter : exporters()) {
    if (exporter.name == name) return exporter;
  }
  if (adapter_exporter().name == name) return adapter_exporter();
  throw UsageError(concat("`format` ", quote(name), " is not known: use one of ", known_exporters()));
}

std::string why_inexact(const Exporter& exporter, const quant::QuantizedWeight& weight,
                        const ExportOptions& options) {
  const std::string obstacle = exporter.obstacle(weight, options);
  return obstacle.empty() ? scale_obstacle(exporter.name, weight.scale, exporter.scale_types(options))
                          : obstacle;
}

ExportReport export_model(const Exporter& exporter, const model::OpenedModel& model,
                          const std::filesystem::path& out, const ExportOptions& options,
                          ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  check_rotations(exporter.name, *model.decoder);
  check_activations(exporter.name, *model.decoder, options);
  model::check_output(out, exporter.output, options.replace, model::inputs_of(model));
  if (model.kind == "converted") model::check_converted(model.path, *model.decoder);
  if (exporter.name != "gguf" || options.linear_type != "auto") take_blocks_as_integers(*model.decoder);
  const double change = make_exact(exporter, *model.decoder, options);
  ExportReport report = exporter.run(model, out, options, progress);
  report.largest_change = std::max(report.largest_change, change);
  if (model.decoder->activations().any()) {
    report.warnings.push_back(concat("weights only: the file does not say that activations are quantized (",
                                     describe_activations(*model.decoder),
                                     "); programs run it with float activations"));
  }
  if (report.largest_change > 0) {
    report.warnings.push_back(
        concat("not exact, as `allow-inexact` permits: a weight changes by up to ", report.largest_change));
  }
  return report;
}

}  // namespace lrqat::exporting
