// L4Q (arXiv 2402.04902; docs/method.md section 3): LoRA is merged before the quantizer,
//     w = (W0 + γ·A·B - b) / s      w~ = round(clip(w, quant_min, quant_max))      Ŵ = s·w~ + b
// Trainables: lora_a [N, R] (zeros at the start), lora_b [R, K], scale, and offset (b) where it is learned.
// Frozen: W0, in 16 bits. With M = 1 where the *unrounded* w lies in [quant_min, quant_max], G = dL/dŴ:
//     ds = Σ G ⊙ {w~ - w where M, else the bound}      db = Σ G ⊙ (1 - M)
//     dA = γ (G ⊙ M) Bᵀ      dB = γ Aᵀ (G ⊙ M)
// ds and db are multiplied by LSQ's 1 / sqrt(n · quant_max). w and w~ are computed anew for every tile:
// nothing of size N×K is kept besides W0. N out_features, K in_features, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::methods {

struct Method;

struct L4qOptions {
  quant::Grid grid;
  quant::Granularity granularity;
  at::ScalarType storage = at::kBFloat16;  // of W0: bfloat16, float16 or float32
  std::int64_t rank = 4;
  double lora_alpha = 4.0;  // γ = lora_alpha / rank: the paper's α
  quant::ScaleOptions scale;
  bool learn_offset = false;      // false: b stays 0, which every integer format holds
  bool asymmetric_start = false;  // b starts where the grid covers [min W, max W]; needs learn_offset
  bool gradient_scaling = true;
};

class L4qWeight final : public quant::WeightParametrization {
 public:
  // From a pretrained weight, float32 [N, K]. `name` is for messages.
  static std::shared_ptr<L4qWeight> prepare(const std::string& name, const at::Tensor& weight,
                                            const L4qOptions& options, const quant::InitialRange& range,
                                            std::uint64_t seed);
  // From the parts. weight [N, K] of options.storage; offset is undefined where it is not learned.
  L4qWeight(const L4qOptions& options, at::Tensor weight, quant::ScaleParameter scale, at::Tensor offset,
            at::Tensor lora_a, at::Tensor lora_b);

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

  const L4qOptions& options() const { return options_; }

 private:
  // w of these rows, float32 [rows, K].
  at::Tensor unrounded(std::int64_t row_begin, std::int64_t row_end) const;
  at::Tensor codes(const at::Tensor& unrounded) const;  // w~
  quant::GridShift shift() const { return {{}, offset_.defined() ? offset_.detach() : at::Tensor()}; }

  L4qOptions options_;
  at::Tensor weight_;
  quant::ScaleParameter scale_;
  at::Tensor offset_;
  at::Tensor lora_a_;
  at::Tensor lora_b_;
};

Method l4q_method();  // its row (method.h)

}  // namespace lrqat::methods
