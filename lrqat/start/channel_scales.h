// Factors on the input channels of a group's matrices, undone in what feeds that input, so that the layer
// computes the same function with weights that round better (AWQ, arXiv 2306.00978): a norm's weight is
// divided before q, k, v and before gate, up; the rows of v before o; the rows of up before down. N
// out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/model/decoder.h"
#include "lrqat/start/transform.h"

namespace lrqat::start {

// scale: positive, float32 [K], the same for all copies of a channel of the group's producer.
void fold(const model::LinearGroup& group, const at::Tensor& scale, LayerWeights& weights);

// Values of a group's input channels, [K], averaged over the copies of a channel of its producer.
at::Tensor shared_by_copies(const at::Tensor& per_channel, const model::LinearGroup& group);

}  // namespace lrqat::start
