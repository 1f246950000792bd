// Everything that decides how one linear's Ŵ is made, whatever the method; each method reads what it knows.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "lrqat/quant/downcast.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::methods {

// γ = lora_alpha / rank, what the product of adapters is multiplied by.
double lora_scaling(double lora_alpha, std::int64_t rank);
void check_rank(std::int64_t rank);  // UsageError below 1

struct LayerOptions {
  quant::QuantSpec spec;                                // the grid, where the method has one
  quant::InitialRange range;                            // its first scales and zero points
  quant::Downcast phi = quant::Downcast::fixed_point8;  // how the frozen term is stored
  bool faithful_downcast = false;                       // the start equals rounding to nearest, code by code
  std::int64_t rank = 32;                               // of the adapters
  double lora_alpha = 32.0;                             // γ = lora_alpha / rank
  at::ScalarType weight_dtype = at::kBFloat16;          // of a frozen float weight
  bool learn_offset = false;                            // the grid's offset is trained
  bool gradient_scaling = true;                         // LSQ's factor on the gradients of scales
  int svd_steps = 1;                                    // LoftQ iterations of a start from a decomposition
  std::uint64_t seed = 0;  // the layer's own: of adapters, of randomised decompositions

  double scaling() const { return lora_scaling(lora_alpha, rank); }
};

// The same on the scales and zero points of a quantized weight.
LayerOptions on_scales_of(const quant::QuantizedWeight& weight, LayerOptions options);

}  // namespace lrqat::methods
