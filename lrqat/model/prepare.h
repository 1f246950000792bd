// Prepares a model for training, or rounds it: every quantizable linear gets a new parametrisation made from
// its float weight, one linear at a time, so that memory never holds more than the prepared model and one
// layer in float.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"

namespace lrqat::model {

// Makes the new weight of linear `name` from weight, float32 [N, K] on the decoder's device. The tensor
// belongs to the factory: it may write to it. Null: the linear stays as it is.
using WeightFactory =
    std::function<std::shared_ptr<quant::WeightParametrization>(const std::string& name, at::Tensor weight)>;

// `source` holds the float weights that the decoder's linears were loaded from.
void prepare(Decoder& decoder, const formats::WeightSource& source, const WeightFactory& factory,
             ProgressReporter& progress);
void prepare(Decoder& decoder, const formats::WeightSource& source, const WeightFactory& factory);

}  // namespace lrqat::model
