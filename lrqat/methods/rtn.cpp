#include "lrqat/methods/rtn.h"

#include <ATen/ATen.h>

#include "lrqat/methods/method.h"
#include "lrqat/quant/downcast.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::methods {
namespace {

WeightPtr prepare(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  return std::make_shared<quant::IntegerWeight>(
      name, quant::round_to_nearest(name, weight, options.spec, options.range));
}

WeightPtr from_integers(const std::string& name, const quant::RoundedWeight& start, const LayerOptions&) {
  return std::make_shared<quant::IntegerWeight>(name, start.rounded);
}

WeightPtr restore(const SavedLayer& saved, const LayerOptions& options) {
  const quant::QuantSpec& spec = options.spec;
  quant::Phi0 codes(saved.at("codes"), saved.in_features, quant::Downcast::integer, spec.grid, saved.name);
  quant::QuantizedWeight rest{
      spec.grid, spec.granularity, {}, saved.at("scale"), saved.at("clipped_fraction").item<double>()};
  if (!spec.symmetric) rest.zero_point = saved.at("zero_point");
  return std::make_shared<quant::IntegerWeight>(saved.name, std::move(codes), rest);
}

}  // namespace

Method rtn_method() {
  return {.name = "rtn",
          .trains = false,
          .prepare = prepare,
          .from_integers = from_integers,
          .restore = restore,
          .frozen_bytes = code_bytes};
}

}  // namespace lrqat::methods
