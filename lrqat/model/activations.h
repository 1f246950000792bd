// How a model's activations are quantized, apart from the model: what converted folders and runs hold of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/model/decoder.h"

namespace lrqat::model {

// The range of one point, where it is static: y = scale · (clip(round(x / scale) + zero_point) - zero_point).
struct StaticRange {
  std::string point;  // "model.layers.0.mlp.product"
  float scale = 0;
  int zero_point = 0;
};

struct StoredActivations {
  quant::ActivationOptions options;
  std::vector<StaticRange> ranges;  // of every point, in model order; empty where ranges are dynamic
};

StoredActivations stored_activations(const Decoder& decoder);
// Error where a range is missing or belongs to no point of the decoder.
void set_activations(Decoder& decoder, const StoredActivations& stored);

// activation_bits, kv_bits, range, score_bits; down_bits where they are its own; with static ranges: points
Json to_json(const StoredActivations& stored);
StoredActivations activations_from_json(const Json& json, const std::string& where);

// Sets static ranges from the tensors "<point>.scale" and "<point>.zero_float", which it takes out of
// `tensors`; trained from now on where the decoder's options say so. Error naming a tensor that is missing.
void take_ranges(Decoder& decoder, std::map<std::string, at::Tensor>& tensors, const std::string& where);

}  // namespace lrqat::model
