// Pieces of the converted folder's layout that writing and reading share (model/converted.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <string_view>

#include "lrqat/formats/dtype.h"
#include "lrqat/model/activations.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/rotations.h"

namespace lrqat::model {

inline constexpr std::string_view kQuantMethod = "lrqat";
inline constexpr int kConvertedVersion = 1;
// Of folders whose activations are quantized too: a program that does not know of it must not run the model
// without.
inline constexpr int kActivationsVersion = 2;
// Likewise of those that rotate in the forward pass, or give down_proj's input bits of its own.
inline constexpr int kRotationsVersion = 3;

// The integers of one tensor as they are stored.
struct StoredIntegers {
  bool packed = false;  // weight_packed uint8 [N, ceil(K/2)], else weight_int int8 [N, K]
  at::Tensor integers;
  at::Tensor scale;       // float16 where that is exact, else float32
  at::Tensor zero_point;  // int8 or undefined
  at::Tensor offset;      // float32 or undefined
};

std::string integer_suffix(bool packed);  // ".weight_packed" or ".weight_int"
formats::DType dtype_of(at::ScalarType type);

StoredIntegers to_stored(const quant::QuantizedWeight& weight);
quant::QuantizedWeight from_stored(const StoredIntegers& stored, const ConvertedLayer& layer,
                                   std::int64_t in_features);

// "quantization_config": `layers` are the trained linears, `blocks` tensors that the source itself held as
// integers (GGUF's Q8_0).
struct QuantizationConfig {
  ConvertedSummary converted;
  std::vector<ConvertedLayer> blocks;
  StoredActivations activations{};
  Rotations rotations{};  // of the forward pass
};
Json to_json(const QuantizationConfig& config);
QuantizationConfig quantization_config_from_json(const Json& json, const std::string& where);
QuantizationConfig read_quantization_config(const std::filesystem::path& folder);

// ConvertedSummary::sha256 of these layers of the decoder, in this order.
std::string checksum(const Decoder& decoder, const std::vector<ConvertedLayer>& layers);

}  // namespace lrqat::model
