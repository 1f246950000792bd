// The type that the big matrix products run in.
#pragma once

namespace lrqat::ops {

// bfloat16 multiplies codes, which it holds exactly, and applies the scale afterwards in float32; a
// parametrisation that has no exact bfloat16 form rounds its tile to bfloat16.
enum class ComputeType { float32, bfloat16 };

}  // namespace lrqat::ops
