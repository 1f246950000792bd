// Linears of a decoder layer that read the same input, and what feeds that input. Calibration, channel scales
// and estimates of memory go through a layer by its groups, so that layers with other ones (fused
// projections, experts) need nothing but other groups. K in_features.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lrqat/nn/linear.h"
#include "lrqat/nn/rms_norm.h"

namespace lrqat::model {

// A layer is run in two halves, each with a residual sum: DecoderLayer::attend and feed_forward.
enum class LayerHalf { attention, feed_forward };

// Makes the input, channel by channel: what multiplies one of its channels multiplies that channel of the
// input. A norm, which reads what goes into the half, or a linear before; neither where a Hadamard transform
// stands between.
template <typename Linear>
struct ProducerOf {
  const nn::RmsNorm* norm = nullptr;
  std::string norm_name = {};  // its tensor's, "model.layers.3.input_layernorm.weight"
  Linear* linear = nullptr;
  // Of a linear: the input is [blocks, copies, width], where the linear's output is [blocks, width]. Heads of
  // queries that share a value head read copies of it.
  std::int64_t copies = 1, width = 1;
};

template <typename Linear>
struct LinearGroupOf {
  std::string input;  // as DecoderLayer::activation_points names the place: "self_attn.input"
  LayerHalf half;
  ProducerOf<Linear> producer;
  std::vector<Linear*> linears;  // at least one

  std::int64_t in_features() const { return linears.front()->in_features(); }
};

using LinearGroup = LinearGroupOf<nn::Linear>;
using ConstLinearGroup = LinearGroupOf<const nn::Linear>;

}  // namespace lrqat::model
