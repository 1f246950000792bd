// LoRA around any frozen weight, and so the QLoRA-style baseline (docs/method.md section 3): the low-rank
// term stays outside of the quantizer, in float,
//     Ŵ = base + γ·A·B      dA = γ G Bᵀ      dB = γ Aᵀ G
// with the base integers and scales (PeqaWeight, LsqWeight), or a float weight (plain LoRA). A parameter of
// the base is trained too. The sum is no grid, so there are no integers to convert to;
// quant::merged_by_rounding() makes some by rounding once more, which is another model. In bfloat16 the tile
// is rounded to 8 bits of mantissa, coarser than small adapters: such methods train best in float32. N
// out_features, K in_features, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::methods {

struct Method;

struct LoraOptions {
  std::int64_t rank = 32;
  double lora_alpha = 1.0;
};

class LoraWeight final : public quant::WeightParametrization {
 public:
  // A = 0, B Kaiming-uniform from `seed`.
  static std::shared_ptr<LoraWeight> around(std::shared_ptr<quant::WeightParametrization> base,
                                            const LoraOptions& options, std::uint64_t seed);
  // From the parts: lora_a [N, R], lora_b [R, K], float32 leaves.
  LoraWeight(std::shared_ptr<quant::WeightParametrization> base, const LoraOptions& options,
             at::Tensor lora_a, at::Tensor lora_b);

  std::int64_t out_features() const override { return base_->out_features(); }
  std::int64_t in_features() const override { return base_->in_features(); }
  at::Device device() const override { return base_->device(); }
  quant::WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end,
                              ops::ComputeType compute) const override;
  std::optional<ops::StoredWeight> stored_form() const override;  // around a float weight
  std::vector<quant::Parameter> parameters() const override;      // lora_a, lora_b, then the base's
  std::vector<std::pair<std::string, at::Tensor>> buffers() const override;  // the base's; its float weight
  void add_tile_gradient(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& grad_weight,
                         at::TensorList grads) const override;
  // Without dL/dŴ where the base trains nothing: dA = γ dyᵀ (x Bᵀ), dB = γ (dy A)ᵀ x.
  bool add_gradient_from_activations(const ops::LinearGradient& linear, at::TensorList grads) const override;
  std::string obstacle() const override;
  std::int64_t resident_bytes() const override;

  std::optional<quant::FloatAdapters> float_adapters() const override {
    return quant::FloatAdapters{base_, options_.lora_alpha, lora_a_, lora_b_};
  }
  const LoraOptions& options() const { return options_; }
  const at::Tensor& lora_a() const { return lora_a_; }
  const at::Tensor& lora_b() const { return lora_b_; }

 private:
  double scaling() const;  // γ

  std::shared_ptr<quant::WeightParametrization> base_;
  LoraOptions options_;
  at::Tensor lora_a_;
  at::Tensor lora_b_;
};

// The rows of the table of methods (method.h): LoRA over integers and over a float weight.
Method qlora_method();
Method lora_method();

}  // namespace lrqat::methods
