#include "lrqat/methods/method.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/base/row_table.h"
#include "lrqat/base/user_text.h"
#include "lrqat/methods/l4q_weight.h"
#include "lrqat/methods/lora_weight.h"
#include "lrqat/methods/lr_qat_start.h"
#include "lrqat/methods/lsq_weight.h"
#include "lrqat/methods/peqa_weight.h"
#include "lrqat/methods/rtn.h"

namespace lrqat::methods {
namespace {

RowTable<Method>& table() {
  static RowTable<Method> rows{lr_qat_method(), l4q_method(),  lsq_method(), peqa_method(),
                               qlora_method(),  lora_method(), rtn_method()};
  return rows;
}

}  // namespace

const at::Tensor& SavedLayer::at(const std::string& tensor) const {
  const auto found = tensors.find(tensor);
  if (found == tensors.end()) fail("the run holds no tensor \"", name, ".", tensor, "\"");
  return found->second;
}

std::vector<const Method*> all_methods() { return table().all(); }

std::string known_methods() {
  std::string names;
  for (const Method* method : all_methods()) names += (names.empty() ? "" : ", ") + method->name;
  return names;
}

const Method& find_method(const std::string& name) {
  if (const Method* method = table().find(name)) return *method;
  throw UsageError(concat("`method` ", quote(name), " is not known: use one of ", known_methods()));
}

void add_method(Method method) {
  if (table().find(method.name) != nullptr)
    throw UsageError(concat("method ", quote(method.name), " is there already"));
  if (method.name.empty() || !method.prepare || !method.restore)
    throw UsageError(concat("method ", quote(method.name), ": a row has a name, prepare() and restore()"));
  table().add(std::move(method));
}

quant::ScaleParameter saved_scale(const SavedLayer& saved, const quant::ScaleOptions& options) {
  return quant::ScaleParameter::from_value(
      saved.at("scale"), options,
      saved.tensors.contains("scale_sign") ? saved.at("scale_sign") : at::Tensor());
}

double float_bytes(const LayerOptions& options) {
  return static_cast<double>(at::elementSize(options.weight_dtype));
}

double code_bytes(const LayerOptions& options) { return options.spec.grid.num_bits <= 4 ? 0.5 : 1; }

std::optional<double> saved_clipped_at_start(const SavedLayer& saved) {
  const auto found = saved.tensors.find("clipped_at_start");
  if (found == saved.tensors.end()) return std::nullopt;
  return found->second.item<double>();
}

}  // namespace lrqat::methods
