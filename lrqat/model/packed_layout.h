// How other programs keep integers in safetensors files: compressed-tensors' pack-quantized, GPTQ and AWQ.
// One row a layout: what it can hold, and both directions. docs/formats.md has the layouts.
// N out_features, K in_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lrqat/formats/dtype.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::model {

// Integers as these files count them: from 0, with a zero point. value = scale · (code - zero_point)
struct UnsignedCodes {
  int num_bits = 4;
  std::int64_t group_size = -1;  // weights along K that share a scale; -1: one scale a row
  at::Tensor codes;              // uint8 [N, K], 0 .. 2^num_bits - 1
  at::Tensor scale;              // float32 [N, G]
  at::Tensor zero_point;         // uint8 [N, G]

  bool is_symmetric() const;  // every zero point is 2^(num_bits - 1), the signed grid
};

// Codes without their zero points, int16 [N, K]: value = scale · code. Not for a weight with a float offset.
at::Tensor signed_codes(const quant::QuantizedWeight& weight);
// The reason that every format of integers has against a learned float offset.
std::string float_offset_obstacle(const std::string& format);

// A scale for the whole tensor becomes one a row. Only where zero points lie within the codes.
UnsignedCodes to_unsigned(const quant::QuantizedWeight& weight);
quant::QuantizedWeight from_unsigned(const UnsignedCodes& codes);

struct PackedTensor {
  std::string suffix;  // after the linear's name: ".qweight"
  at::Tensor value;
};

// What config.json says of one linear.
struct PackedScheme {
  int num_bits = 4;
  std::int64_t group_size = -1;
  bool symmetric = true;
  bool act_order = false;  // GPTQ's desc_act: only g_idx says which weights share a scale
};

// The tensors of a linear by suffix; Error where one is missing or has another shape or type.
struct TensorLookup {
  std::function<bool(const std::string& suffix)> has;
  std::function<at::Tensor(const std::string& suffix, const std::vector<std::int64_t>& shape,
                           const std::vector<formats::DType>& allowed)>
      get;

  at::Tensor operator()(const std::string& suffix, const std::vector<std::int64_t>& shape,
                        const std::vector<formats::DType>& allowed) const {
    return get(suffix, shape, allowed);
  }
};

struct PackedLayout {
  std::string name;                   // "compressed-tensors", "gptq", "gptq-v2", "awq"
  std::string marker;                 // the suffix that only a packed linear has
  std::vector<std::string> suffixes;  // all that a packed linear may have
  std::vector<at::ScalarType> scale_types;
  // What keeps it from holding these integers, scales aside; empty: nothing does.
  std::string (*obstacle)(const quant::QuantizedWeight& weight);
  std::vector<PackedTensor> (*pack)(const UnsignedCodes& codes);
  UnsignedCodes (*unpack)(const TensorLookup& lookup, const PackedScheme& scheme, std::int64_t out_features,
                          std::int64_t in_features);
};

std::span<const PackedLayout> packed_layouts();
const PackedLayout& packed_layout(const std::string& name);  // LRQAT_CHECK that it is one of them

}  // namespace lrqat::model
