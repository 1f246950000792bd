#include "lrqat/model/tensor_pool.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

namespace lrqat::model {
namespace {

constexpr std::size_t kLarge = std::size_t{1} << 20, kPage = 4096;

class TensorPool final : public c10::Allocator {
 public:
  explicit TensorPool(c10::Allocator& otherwise) : otherwise_(otherwise) {}

  c10::DataPtr allocate(std::size_t size) override {
    void* data = size < kLarge ? otherwise_.raw_allocate(size) : take((size + kPage - 1) / kPage * kPage);
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }  // oneDNN's scratch memory wants one
  void copy_data(void* to, const void* from, std::size_t size) const override { std::memcpy(to, from, size); }

  PoolBytes bytes() const {
    const std::lock_guard lock(mutex_);
    return {static_cast<std::int64_t>(used_), static_cast<std::int64_t>(free_bytes_),
            static_cast<std::int64_t>(largest_)};
  }

  void empty() {
    const std::lock_guard lock(mutex_);
    drop_down_to(0);
  }

  static TensorPool& instance() {
    static auto* pool = new TensorPool(*c10::GetDefaultCPUAllocator());  // outlives every tensor
    return *pool;
  }

 private:
  struct FreeBlock {
    void* data;
    std::uint64_t since;  // counts up
  };

  static void give_back(void* data) {
    // Blocks of the pool begin with a page; few others do.
    const bool may_be_ours = reinterpret_cast<std::uintptr_t>(data) % kPage == 0;
    if (!may_be_ours || !instance().put(data)) instance().otherwise_.raw_deallocate(data);
  }

  // A free block that is little larger will do; else a new one, in place of those that lay free for longest.
  void* take(std::size_t size) {
    const std::lock_guard lock(mutex_);
    auto found = free_.lower_bound(size);
    if (found == free_.end() || found->first > size + size / 8) {
      drop_down_to(std::max(largest_, used_ + size) + kPoolSlack - used_ - size);
      found = free_.emplace(size, FreeBlock{map_pages(size), 0});
      free_bytes_ += size;
    }
    const auto [block_size, block] = *found;
    free_.erase(found);
    free_bytes_ -= block_size;
    used_ += block_size;
    largest_ = std::max(largest_, used_);
    sizes_[block.data] = block_size;
    return block.data;
  }

  // False: not a block of the pool.
  bool put(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(data);
    if (found == sizes_.end()) return false;
    const std::size_t size = found->second;
    sizes_.erase(found);
    free_.emplace(size, FreeBlock{data, ++clock_});
    used_ -= size;
    free_bytes_ += size;
    return true;
  }

  void drop_down_to(std::size_t bytes) {
    while (free_bytes_ > bytes) {
      const auto oldest = std::min_element(free_.begin(), free_.end(), [](const auto& a, const auto& b) {
        return a.second.since < b.second.since;
      });
      ::munmap(oldest->second.data, oldest->first);
      free_bytes_ -= oldest->first;
      free_.erase(oldest);
    }
  }

  static void* map_pages(std::size_t size) {
    void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK_WITH(OutOfMemoryError, data != MAP_FAILED, "not enough memory: ", size, " bytes");
    return data;
  }

  c10::Allocator& otherwise_;
  mutable std::mutex mutex_;
  std::multimap<std::size_t, FreeBlock> free_;
  std::unordered_map<void*, std::size_t> sizes_;  // of blocks in use
  std::size_t used_ = 0, free_bytes_ = 0, largest_ = 0;
  std::uint64_t clock_ = 0;
};

}  // namespace

void pool_large_tensors() {
  constexpr std::uint8_t kPriority = 1;  // above the default's 0
  c10::SetCPUAllocator(&TensorPool::instance(), kPriority);
}

PoolBytes pool_bytes() { return TensorPool::instance().bytes(); }

void empty_pool() { TensorPool::instance().empty(); }

}  // namespace lrqat::model
