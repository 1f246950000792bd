// NaN and infinities in a model's files are an Error when the tensor is loaded, also in rows that no token of
// a text would ever ask for: what is made from such a model would hold them too.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "lrqat/formats/weight_source.h"

namespace lrqat::model {

// A stored tensor of the source, a few MiB at a time, whose pages are released. Error naming the file, the
// tensor and its first bad row. Of a vector a row is one number.
void check_finite(const formats::WeightSource& source, const std::string& name);
// The same of a tensor of floats; `where` names the file.
void check_finite(const at::Tensor& values, const std::string& where, const std::string& name);

}  // namespace lrqat::model
