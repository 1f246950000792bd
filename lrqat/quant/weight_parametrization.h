// A method is a weight parametrisation (method.md section 4): a map from parameters to Ŵ, made for a tile of
// output rows at a time. The linear layer around it (nn/linear.h) owns the products (ops/products.h) and the
// saved tensors. T tokens, N out_features, K in_features, R rank, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/ops/matrix_source.h"
#include "lrqat/ops/weight_gradient.h"
#include "lrqat/quant/grid.h"

namespace lrqat::formats {
struct SourceTensor;
}

namespace lrqat::quant {

using ops::for_each_tile;
using ops::WeightTile;

// What a parameter is, which decides its learning rate: `weight` and `adapter` take the recipe's lr and
// weight decay; `scale` (offsets too) takes scale-lr and no decay; `float_tensor` (norms, embedding, head)
// takes float-lr and no decay.
enum class ParameterKind { adapter, weight, scale, float_tensor };

struct Parameter {
  std::string name;  // "lora_a", "lora_b", "scale": the name on disk, after the layer's
  at::Tensor value;  // float32 leaf with requires_grad
  ParameterKind kind;
  double rate = 1.0;  // what its learning rate is multiplied by
};

// The only form in which integers leave a parametrisation:
// value = scale * (weight_int - zero_point) + offset.
struct QuantizedWeight {
  Grid grid;
  Granularity granularity;
  at::Tensor weight_int;  // int8 [N, K], codes
  at::Tensor scale;       // float32 [1, 1], [N, 1] or [N, K / group_size]
  double clipped_fraction = 0.0;
  at::Tensor zero_point{};  // int8, shaped like scale; undefined: 0 (a symmetric grid)
  at::Tensor offset{};      // float32, shaped like scale; undefined: 0. No integer format holds another one.
};

class WeightParametrization;

// Adapters that stay in float beside a weight: Ŵ = base + lora_alpha / R · A·B.
struct FloatAdapters {
  std::shared_ptr<WeightParametrization> base;
  double lora_alpha;
  at::Tensor lora_a;  // float32 [N, R]
  at::Tensor lora_b;  // float32 [R, K]
  std::int64_t rank() const { return lora_b.size(0); }
};

class WeightParametrization : public ops::MatrixSource {
 public:
  // Trainables in a fixed order; empty for frozen weights. The tensors are shared, so optimisers update in
  // place.
  virtual std::vector<Parameter> parameters() const { return {}; }

  // Tensors that never change in training but belong to the state on disk (phi_0, ...), by name.
  virtual std::vector<std::pair<std::string, at::Tensor>> buffers() const { return {}; }

  // Adds the part of rows [row_begin, row_end) to grads (one float32 tensor per parameter, in the same
  // order), given grad_weight = dL/dŴ of these rows, float32 [rows, K], which may be overwritten.
  virtual void add_tile_gradient(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& grad_weight,
                                 at::TensorList grads) const;

  // The same for all rows at once from what a linear layer has anyway, where the parametrisation knows a form
  // that needs no dL/dŴ, or a faster way to it (method.md section 5). Returns false, nothing added, where it
  // does not; then the layer forms dL/dŴ tile by tile.
  virtual bool add_gradient_from_activations(const ops::LinearGradient& linear, at::TensorList grads) const;

  // How many clipped entries of Ŵ at most add_gradient_from_activations wants listed
  // (LinearGradient::clipped), if there are no more; 0: it does not ask for them.
  virtual std::int64_t most_clipped(ops::ComputeType) const { return 0; }

  // True where convert() has an answer.
  virtual bool is_quantized() const { return false; }
  // Why convert() has no answer, for the user, where there is more to say than that the weight is float.
  virtual std::string obstacle() const { return {}; }
  virtual QuantizedWeight convert() const;

  // The tensor [N, K] that Ŵ is the values of, as it is stored (float32, bfloat16, float16); undefined where
  // Ŵ is computed from something else.
  virtual at::Tensor float_storage() const { return {}; }
  // The integers that this weight is, or that lie in its file; nullopt: it is float.
  virtual std::optional<QuantizedWeight> stored_integers() const;
  // The tensor of a file that Ŵ is read from, as the file holds it; null: Ŵ is not read from a file.
  virtual const formats::SourceTensor* file_tensor() const { return nullptr; }
  // nullopt: there are none, or they are part of what is rounded.
  virtual std::optional<FloatAdapters> float_adapters() const { return std::nullopt; }

  // Bytes that this weight keeps in memory (parameters included, gradients and optimiser state not).
  virtual std::int64_t resident_bytes() const = 0;
};

// Error naming the layer where a weight has values that are not finite.
void check_finite(const std::string& name, const at::Tensor& weight);

}  // namespace lrqat::quant
