// The learned step size s: its parameter (linear or log domain), its floor, its sign, and the snapping to the
// type in which the export will store it, so that the grid of training is the grid that ships (method.md
// sections 2 and 7). N out_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lrqat/ops/stored_weight.h"
#include "lrqat/quant/grid.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

enum class ScaleDomain { linear, log };
ScaleDomain parse_scale_domain(std::string_view name);
std::string scale_domain_name(ScaleDomain domain);

// The type that the forward pass rounds s to (gradient straight through).
enum class ScaleType { float32, float16, bfloat16 };
ScaleType parse_scale_type(std::string_view name);
std::string scale_type_name(ScaleType type);

struct ScaleOptions {
  ScaleDomain domain = ScaleDomain::linear;
  ScaleType type = ScaleType::float16;
  bool learn = true;
  // Smallest s of the linear domain; below it the parameter gets no gradient. 0: no floor. Where s is snapped
  // to float16 it is at least 2^-24, the smallest number that float16 has.
  float floor = 1e-8F;
};

class ScaleParameter {
 public:
  // `scale` [1, 1], [N, 1] or [N, G], float32, not zero: the value that s starts from (before snapping).
  // Negative ones are those of block-wise starts: the grid's extra code -2^(b-1) then lies on the positive
  // side. A scale keeps its sign in training.
  ScaleParameter(const at::Tensor& scale, const ScaleOptions& options);
  // Wraps an existing parameter tensor (the |s| or log |s| that value() returned) and its sign().
  static ScaleParameter from_value(at::Tensor value, const ScaleOptions& options, at::Tensor sign = {});

  at::Tensor effective() const;  // s as the forward pass uses it
  // Of rows [row_begin, row_end) alone, for who works in tiles; [1, 1] where all rows share it.
  at::Tensor effective(std::int64_t row_begin, std::int64_t row_end) const;
  // Adds dL/dvalue to rows [row_begin, …) of grad (shaped as value()), given dL/ds of those rows, [rows, G]
  // or [1, 1].
  void add_gradient(const at::Tensor& grad_effective, std::int64_t row_begin, const at::Tensor& grad) const;
  const at::Tensor& value() const { return value_; }  // the parameter, a leaf
  // As methods list it. In the log domain a step moves the largest code of a grid by rate · 2^(b-1) of the
  // grid's own steps: where b > 4 the rate is smaller, so that it moves no farther than that of 4 bits.
  Parameter parameter(const Grid& grid) const;
  const at::Tensor& sign() const { return sign_; }  // int8, 1 or -1 a scale; undefined: all are positive
  // What a run has to hold besides parameters: "scale" where it is not one, "scale_sign" where there is one.
  std::vector<std::pair<std::string, at::Tensor>> buffers() const;
  const ScaleOptions& options() const { return options_; }

 private:
  explicit ScaleParameter(const ScaleOptions& options) : options_(options) {}
  float floor() const;
  at::Tensor as_used(const at::Tensor& value, const at::Tensor& sign) const;

  ScaleOptions options_;
  at::Tensor value_, sign_;
};

using ops::scale_rows;

// weight / scale, float32 [N, K], each weight by its own scale. A true division: multiplying by 1 / s gives
// other bits, and so other codes.
at::Tensor divide_by_scale(const at::Tensor& weight, const at::Tensor& scale);
// Rows [row_begin, row_end) of it, [rows, K], so that callers can work in tiles.
at::Tensor divide_rows_by_scale(const at::Tensor& weight, const at::Tensor& scale, std::int64_t row_begin,
                                std::int64_t row_end);

}  // namespace lrqat::quant
