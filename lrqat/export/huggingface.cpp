// The exporter of plain Hugging Face folders: every matrix as floats, exact in their type or refused.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "lrqat/base/error.h"
#include "lrqat/export/folder.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

constexpr std::array kTypes{at::kHalf, at::kBFloat16, at::kFloat};  // smallest first

// The tensors that each type does not hold, and those with values beyond its range; names of the first ones.
struct Exactness {
  std::array<std::string, kTypes.size()> first_inexact, first_beyond;

  void add(const std::string& name, const at::Tensor& values) {
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
      if (is_exact_in(values, kTypes[i])) continue;
      if (first_inexact[i].empty()) first_inexact[i] = name;
      const bool fits = values.to(kTypes[i]).isfinite().equal(values.isfinite());
      if (first_beyond[i].empty() && !fits) first_beyond[i] = name;
    }
  }
  at::ScalarType smallest() const {
    const auto exact = std::find(first_inexact.begin(), first_inexact.end(), std::string());
    return kTypes.at(static_cast<std::size_t>(exact - first_inexact.begin()));
  }
};

Exactness exactness_of(const model::Decoder& decoder) {
  Exactness exactness;
  for_each_tensor(
      decoder,
      [&](const std::string& module, const WeightPtr& weight) {
        for_row_chunks(
            *weight, [&](const at::Tensor& rows, std::int64_t) { exactness.add(module + ".weight", rows); });
      },
      [&](const std::string& name, const at::Tensor& values) { exactness.add(name, values.cpu()); });
  return exactness;
}

at::ScalarType choose_type(const model::Decoder& decoder, const ExportOptions& options) {
  const bool automatic = options.dtype == "auto";
  const at::ScalarType asked = automatic ? at::kFloat : parse_dtype_option(options.dtype);
  const Exactness exactness = exactness_of(decoder);
  if (automatic) return exactness.smallest();
  const auto index =
      static_cast<std::size_t>(std::find(kTypes.begin(), kTypes.end(), asked) - kTypes.begin());
  if (const std::string& beyond = exactness.first_beyond.at(index); !beyond.empty()) {
    fail(beyond, ": has values beyond the range of ", options.dtype,
         ", which would become infinite; `dtype` bfloat16 or float32 has room for them");
  }
  if (!options.allow_inexact && !exactness.first_inexact.at(index).empty()) {
    fail(exactness.first_inexact.at(index), ": is not exact in ", options.dtype, "; `dtype` ",
         dtype_option_name(exactness.smallest()),
         " holds this model exactly, compressed-tensors, gguf and the converted folder (lrqat convert) hold "
         "its "
         "integers; `allow-inexact` rounds");
  }
  return asked;
}

ExportReport export_floats(const model::OpenedModel& model, const fs::path& out, const ExportOptions& options,
                           ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  const at::ScalarType type = choose_type(*model.decoder, options);
  FolderPlan plan{.dtype = dtype_option_name(type), .may_round = options.allow_inexact};
  for_each_file_tensor(
      *model.decoder,
      [&](const std::string& module, const Matrices& weights) {
        plan.tensors.push_back(float_matrix(module + ".weight", weights, &type));
      },
      [&](const std::string& name, const at::Tensor& values) {
        plan.tensors.push_back(float_vector(name, values, &type));
      });
  return write_folder("hf", model, plan, out, progress);
}

}  // namespace

Exporter float_exporter() {
  return {"hf", model::OutputKind::folder, export_floats,
          [](const quant::QuantizedWeight&, const ExportOptions&) { return std::string(); },
          [](const ExportOptions&) { return std::vector<at::ScalarType>{}; }};
}

}  // namespace lrqat::exporting
