// What the folders above must know about where a tensor is.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace lrqat::ops {

// Whether tensors of this device are in the memory that files and plain code read.
bool on_host(at::Device device);

// Calls work(begin, end) for blocks of rows of a tensor like `like`, [rows, …]: on the CPU on all threads, so
// few rows at a time that what ATen's operations pass on stays in the cache; elsewhere once for all. `work`
// must write rows [begin, end) alone. Without gradients.
void for_row_blocks(const at::Tensor& like,
                    const std::function<void(std::int64_t begin, std::int64_t end)>& work);

}  // namespace lrqat::ops
