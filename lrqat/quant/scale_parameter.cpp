#include "lrqat/quant/scale_parameter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::quant {
namespace {

constexpr int kWidestAtFullRate = 4;         // bits
constexpr float kLargestFloat16 = 65504.0F;  // a scale that training drives beyond it stays there, finite

}  // namespace

ScaleDomain parse_scale_domain(std::string_view name) {
  if (name == "linear") return ScaleDomain::linear;
  if (name == "log") return ScaleDomain::log;
  throw UsageError(concat("`scale-domain` ", quote(name), " is not known: use linear or log"));
}

std::string scale_domain_name(ScaleDomain domain) { return domain == ScaleDomain::linear ? "linear" : "log"; }

ScaleType parse_scale_type(std::string_view name) {
  if (name == "float32") return ScaleType::float32;
  if (name == "float16") return ScaleType::float16;
  if (name == "bfloat16") return ScaleType::bfloat16;
  throw UsageError(concat("`scale-type` ", quote(name), " is not known: use float16, bfloat16 or float32"));
}

std::string scale_type_name(ScaleType type) {
  switch (type) {
    case ScaleType::float32:
      return "float32";
    case ScaleType::float16:
      return "float16";
    case ScaleType::bfloat16:
      return "bfloat16";
  }
  internal_error(__FILE__, __LINE__, "scale type", "");
}

ScaleParameter::ScaleParameter(const at::Tensor& scale, const ScaleOptions& options) : options_(options) {
  LRQAT_CHECK(scale.dim() == 2 && scale.scalar_type() == at::kFloat);
  const at::Tensor negative = scale.lt(0.0);
  if (negative.any().item<bool>()) sign_ = at::ones_like(scale, at::kChar).masked_fill_(negative, -1);
  const at::Tensor size = sign_.defined() ? scale.abs() : scale;
  value_ = options.domain == ScaleDomain::log ? size.log() : size.clone();
  value_.set_requires_grad(options.learn);
  if (options.type == ScaleType::float16 && size.max().item<float>() > kLargestFloat16) {
    fail("a scale of ", size.max().item<float>(),
         " does not fit float16: use `scale-type` bfloat16 or float32");
  }
}

ScaleParameter ScaleParameter::from_value(at::Tensor value, const ScaleOptions& options, at::Tensor sign) {
  ScaleParameter parameter(options);
  LRQAT_CHECK(value.dim() == 2 && value.scalar_type() == at::kFloat);
  parameter.value_ = std::move(value);
  parameter.value_.set_requires_grad(options.learn);
  LRQAT_CHECK(!sign.defined() || sign.sizes() == parameter.value_.sizes());
  parameter.sign_ = std::move(sign);
  return parameter;
}

float ScaleParameter::floor() const {
  const float smallest = options_.type == ScaleType::float16 ? 0x1p-24F : 0.0F;
  return std::max(options_.domain == ScaleDomain::linear ? options_.floor : 0.0F, smallest);
}

at::Tensor ScaleParameter::effective() const { return as_used(value_.detach(), sign_); }

at::Tensor ScaleParameter::effective(std::int64_t row_begin, std::int64_t row_end) const {
  return as_used(scale_rows(value_.detach(), row_begin, row_end),
                 sign_.defined() ? scale_rows(sign_, row_begin, row_end) : sign_);
}

at::Tensor ScaleParameter::as_used(const at::Tensor& value, const at::Tensor& sign) const {
  at::Tensor scale = options_.domain == ScaleDomain::log ? value.exp() : value;
  if (floor() > 0.0F) scale = scale.clamp_min(floor());
  if (options_.type == ScaleType::float16)
    scale = scale.clamp_max(kLargestFloat16).to(at::kHalf).to(at::kFloat);
  if (options_.type == ScaleType::bfloat16) scale = scale.to(at::kBFloat16).to(at::kFloat);
  return sign.defined() ? scale * sign : scale;
}

Parameter ScaleParameter::parameter(const Grid& grid) const {
  const bool smaller = options_.domain == ScaleDomain::log && grid.num_bits > kWidestAtFullRate;
  return {"scale", value_, ParameterKind::scale,
          smaller ? std::exp2(kWidestAtFullRate - grid.num_bits) : 1.0};
}

std::vector<std::pair<std::string, at::Tensor>> ScaleParameter::buffers() const {
  std::vector<std::pair<std::string, at::Tensor>> buffers;
  if (!options_.learn) buffers.emplace_back("scale", value_);
  if (sign_.defined()) buffers.emplace_back("scale_sign", sign_);
  return buffers;
}

void ScaleParameter::add_gradient(const at::Tensor& grad_effective, std::int64_t row_begin,
                                  const at::Tensor& grad) const {
  const std::int64_t row_end = row_begin + grad_effective.size(0);
  const at::Tensor grad_scale =
      sign_.defined() ? grad_effective * sign_.slice(0, row_begin, row_end) : grad_effective;
  const at::Tensor value = value_.detach().slice(0, row_begin, row_end);
  at::Tensor out = grad.slice(0, row_begin, row_end);
  if (options_.domain == ScaleDomain::log) {
    out.addcmul_(grad_scale, value.exp());
  } else if (floor() > 0.0F) {
    out.addcmul_(grad_scale, value.ge(floor()).to(at::kFloat));
  } else {
    out.add_(grad_scale);
  }
}

at::Tensor divide_by_scale(const at::Tensor& weight, const at::Tensor& scale) {
  if (scale.size(1) == 1) return weight / scale;
  return (weight.view({weight.size(0), scale.size(1), -1}) / scale.unsqueeze(2)).view(weight.sizes());
}

at::Tensor divide_rows_by_scale(const at::Tensor& weight, const at::Tensor& scale, std::int64_t row_begin,
                                std::int64_t row_end) {
  return divide_by_scale(weight.slice(0, row_begin, row_end), scale_rows(scale, row_begin, row_end));
}

}  // namespace lrqat::quant
