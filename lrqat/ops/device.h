// What the folders above must know about where a tensor is.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace lrqat::ops {

// Whether tensors of this device are in the memory that files and plain code read.
bool on_host(at::Device device);

// The bytes of a contiguous tensor on the host, for files. `what` is for the message where it is another one,
// a fault of the caller.
std::span<const std::byte> host_bytes(const at::Tensor& tensor, std::string_view what = {});

// Calls work(begin, end) for blocks of rows of a tensor like `like`, [rows, …]: on the CPU on all threads, so
// few rows at a time that what ATen's operations pass on stays in the cache; elsewhere once for all. `work`
// must write rows [begin, end) alone. Without gradients.
void for_row_blocks(const at::Tensor& like,
                    const std::function<void(std::int64_t begin, std::int64_t end)>& work);

}  // namespace lrqat::ops
