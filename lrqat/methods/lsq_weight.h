// LSQ, full-model quantization-aware training (arXiv 1902.08153; docs/method.md section 3): the weight itself
// is trained, in float,
//     q = clip(round(W / s) + z, quant_min, quant_max)      Ŵ = s·(q - z)
// with z = 0, or, on an asymmetric grid, z = round(zero_float) within the grid, trained too. With M = 1 where
// the rounded value lies in the grid and G = dL/dŴ:
//     dW = G ⊙ M      ds = Σ G ⊙ (q - z - M ⊙ W/s)      dzero_float = Σ G ⊙ s ⊙ (M - 1) where z is not
//     clipped
// ds and dzero_float are multiplied by LSQ's 1 / sqrt(n · Q) where gradient scaling is on. Codes are signed
// here as everywhere: the paper's unsigned k and z are q + 2^(b-1) and z + 2^(b-1). N out_features, K
// in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::methods {

struct Method;

struct LsqOptions {
  quant::Grid grid;  // signed
  quant::Granularity granularity;
  quant::ScaleOptions scale;
  bool symmetric = true;
  bool gradient_scaling = true;
  bool learn_weight = true;  // false: the quantizer alone is trained
};

class LsqWeight final : public quant::WeightParametrization {
 public:
  // From a pretrained weight, float32 [N, K], which becomes the master weight. `name` is for messages.
  static std::shared_ptr<LsqWeight> prepare(const std::string& name, const at::Tensor& weight,
                                            const LsqOptions& options, const quant::InitialRange& range);
  // From the parts: weight float32 [N, K]; zero_float (of the unsigned grid), shaped like the scale,
  // undefined on a symmetric grid.
  LsqWeight(const LsqOptions& options, at::Tensor weight, quant::ScaleParameter scale, at::Tensor zero_float);

  std::int64_t out_features() const override { return weight_.size(0); }
  std::int64_t in_features() const override { return weight_.size(1); }
  at::Device device() const override { return weight_.device(); }
  quant::WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end,
                              ops::ComputeType compute) const override;
  std::vector<quant::Parameter> parameters() const override;
  std::vector<std::pair<std::string, at::Tensor>> buffers() const override;
  void add_tile_gradient(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& grad_weight,
                         at::TensorList grads) const override;
  bool is_quantized() const override { return true; }
  quant::QuantizedWeight convert() const override;
  std::int64_t resident_bytes() const override;

 private:
  struct Tile {
    at::Tensor u;        // W / s, float32 [rows, G, K / G]
    at::Tensor rounded;  // round(u) + z
    at::Tensor codes;    // clipped
  };
  Tile tile(std::int64_t row_begin, std::int64_t row_end) const;
  // Of these rows, of the signed grid, float32; undefined: symmetric.
  at::Tensor zero_point(std::int64_t row_begin, std::int64_t row_end) const;
  double gradient_scale() const;

  LsqOptions options_;
  at::Tensor weight_;
  quant::ScaleParameter scale_;
  at::Tensor zero_float_;
};

Method lsq_method();  // its row (method.h)

}  // namespace lrqat::methods
