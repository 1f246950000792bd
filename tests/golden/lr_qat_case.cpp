#include "tests/golden/lr_qat_case.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"

namespace lrqat::golden {
namespace {

quant::Downcast downcast_of(const std::string& phi) {
  static const std::map<std::string, quant::Downcast> table{{"fp32", quant::Downcast::float32},
                                                            {"bf16", quant::Downcast::bfloat16},
                                                            {"fp16", quant::Downcast::float16},
                                                            {"fixed_point8", quant::Downcast::fixed_point8},
                                                            {"int", quant::Downcast::integer}};
  return table.at(phi);
}

methods::LrQatOptions options_of(const Json& entry) {
  methods::LrQatOptions options;
  options.grid = {entry.at("num_bits"), entry.at("quant_min"), entry.at("quant_max")};
  const std::string granularity = entry.at("granularity");
  options.granularity = granularity == "group"
                            ? quant::Granularity::parse(concat("group:", entry.at("group_size")))
                            : quant::Granularity::parse(granularity);
  options.downcast = downcast_of(entry.at("phi"));
  options.rank = entry.at("rank");
  options.lora_alpha = entry.at("lora_alpha");
  options.bfloat16_product = entry.at("bf16_ab");
  options.scale.domain =
      entry.at("scale_domain") == "log" ? quant::ScaleDomain::log : quant::ScaleDomain::linear;
  options.scale.type = quant::ScaleType::float32;  // the reference does not snap
  options.scale.learn = entry.at("learn_scale");
  options.scale.floor = entry.at("scale_eps");
  return options;
}

}  // namespace

LrQatCase::LrQatCase(const GoldenFile& golden, const Json& json)
    : file(&golden),
      entry(json),
      name(describe(json)),
      options(options_of(json)),
      u([&] {
        const at::Tensor w = stored("W");
        const auto shape = options.granularity.scale_shape(w.size(0), w.size(1));
        return quant::divide_by_scale(w, stored("scale0").view(shape));
      }()),
      phi_0(quant::Phi0::store(u, options.downcast, options.grid)),
      lora_a(stored("A").to(at::kFloat)),
      lora_b(stored("B").to(at::kFloat)),
      delta(stored("delta").view(options.granularity.scale_shape(u.size(0), u.size(1)))),
      x(stored("X")),
      grad_y(stored("dY")) {
  if (has("bias")) bias = stored("bias");
}

std::shared_ptr<methods::LrQatWeight> LrQatCase::weight() const {
  return std::make_shared<methods::LrQatWeight>(
      options, phi_0, quant::ScaleParameter::from_value(delta.clone(), options.scale), lora_a.clone(),
      lora_b.clone());
}

}  // namespace lrqat::golden
