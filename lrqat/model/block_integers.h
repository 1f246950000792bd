// Tensors of GGUF blocks as integers, scales and where the grid lies (quant::QuantizedWeight): exactly the
// values that the blocks stand for. N out_features, K in_features, G groups a row.
#pragma once

#include "lrqat/formats/weight_source.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::model {

// Whether the stored tensor is a matrix of integer blocks.
bool holds_integers(const formats::SourceTensor& raw);

// Its integers, rows in Hugging Face order, group_size as the type has it. Scales keep their sign,
// but for Q2_0's, which are positive. zero_point
// where a grid does not lie around zero; offset (with a zero_point of the smallest code) where blocks begin
// at a value that is no multiple of their scale.
quant::QuantizedWeight integers_of(const formats::SourceTensor& raw);

}  // namespace lrqat::model
