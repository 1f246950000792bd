// Factors on the input channels of a layer's matrices, undone in what comes before them, so that the layer
// computes the same function with weights that round better (AWQ, arXiv 2306.00978): a norm's weight is
// divided before q, k, v and before gate, up; the rows of v before o; the rows of up before down. H hidden
// size, I intermediate size, D head_dim.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "lrqat/model/decoder.h"

namespace lrqat::start {

// Positive, float32; undefined: none.
struct ChannelScales {
  at::Tensor qkv;      // [H]
  at::Tensor o;        // [heads·D], the same for all heads that share a value head
  at::Tensor gate_up;  // [H]
  at::Tensor down;     // [I]
};

// What a layer's function is made of, float32; changed in place by fold().
struct LayerWeights {
  std::array<at::Tensor, 7> matrices;  // q, k, v, o, gate, up, down
  // What the norms in front of q, k, v and of gate, up multiply by: Gemma's stored weight plus 1.
  at::Tensor input_norm, feed_forward_norm;
};

void fold(const ChannelScales& scales, const nn::Attention& attention, LayerWeights& weights);

// Values of o's input channels [heads·D] averaged over the heads that share a value head.
at::Tensor shared_by_value_heads(const at::Tensor& per_channel, const nn::Attention& attention);

}  // namespace lrqat::start
