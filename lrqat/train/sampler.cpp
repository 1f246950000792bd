#include "lrqat/train/sampler.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"

namespace lrqat::train {

namespace {

// Random's stream of epoch e is kStream + e, away from the small numbers that other purposes take.
constexpr std::uint64_t kStream = std::uint64_t{0x5a} << 32;

}  // namespace

Sampler::Sampler(std::int64_t size, std::uint64_t seed, bool shuffle)
    : size_(size), seed_(seed), shuffle_(shuffle) {
  LRQAT_CHECK(size > 0, "a sampler of ", size, " sequences");
}

void Sampler::make_epoch(std::int64_t epoch) {
  order_.resize(static_cast<std::size_t>(size_));
  std::iota(order_.begin(), order_.end(), std::int64_t{0});
  epoch_ = epoch;
  if (!shuffle_) return;
  Random random(seed_, kStream + static_cast<std::uint64_t>(epoch));
  for (std::size_t i = order_.size() - 1; i > 0; --i) {  // Fisher-Yates
    std::swap(order_[i], order_[random.below(i + 1)]);
  }
}

std::vector<std::int64_t> Sampler::next(std::int64_t count) {
  LRQAT_CHECK(count >= 0);
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i, ++position_) {
    if (position_ / size_ != epoch_) make_epoch(position_ / size_);
    indices.push_back(order_[static_cast<std::size_t>(position_ % size_)]);
  }
  return indices;
}

void Sampler::seek(std::int64_t position) {
  LRQAT_CHECK(position >= 0, "seek to ", position);
  position_ = position;
}

double Sampler::epochs() const { return static_cast<double>(position_) / static_cast<double>(size_); }

}  // namespace lrqat::train
