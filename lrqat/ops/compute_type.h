// The type that the big matrix products run in.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

// bfloat16 multiplies codes, which it holds exactly, and applies the scale afterwards in float32; a
// parametrisation that has no exact bfloat16 form rounds its tile to bfloat16.
enum class ComputeType { float32, bfloat16 };

// Of the operands of such products.
at::ScalarType scalar_type(ComputeType compute);
// What an operand was made for: bfloat16 where it holds that, else float32.
ComputeType compute_of(const at::Tensor& operand);

// True where the CPU multiplies blocks of this type (block_product.h): checked once by a small product with a
// known result. Elsewhere products go through at::mm over tiles.
bool block_products(ComputeType compute);
// For tests: false turns them off.
void allow_block_products(bool allow);

}  // namespace lrqat::ops
