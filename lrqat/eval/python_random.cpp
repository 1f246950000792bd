#include "lrqat/eval/python_random.h"

#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "lrqat/base/error.h"

namespace lrqat::eval {

void PythonRandom::seed_by_number(std::uint32_t seed) {
  state_[0] = seed;
  for (std::uint32_t i = 1; i < kSize; ++i) {
    state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  }
}

// init_by_array of the one-element key {seed}.
PythonRandom::PythonRandom(std::uint32_t seed) {
  seed_by_number(19650218U);
  std::size_t i = 1;
  const auto advance = [&] {
    if (++i < kSize) return;
    state_[0] = state_[kSize - 1];
    i = 1;
  };
  const auto mixed = [&] { return state_[i - 1] ^ (state_[i - 1] >> 30); };
  for (std::size_t k = 0; k < kSize; ++k, advance()) state_[i] = (state_[i] ^ (mixed() * 1664525U)) + seed;
  for (std::size_t k = 1; k < kSize; ++k, advance()) {
    state_[i] = (state_[i] ^ (mixed() * 1566083941U)) - static_cast<std::uint32_t>(i);
  }
  state_[0] = 0x80000000U;
}

std::uint32_t PythonRandom::next() {
  if (index_ == kSize) {
    for (std::size_t i = 0; i < kSize; ++i) {
      const std::uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % kSize] & 0x7FFFFFFFU);
      state_[i] = state_[(i + 397) % kSize] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908B0DFU : 0U);
    }
    index_ = 0;
  }
  std::uint32_t y = state_[index_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9D2C5680U;
  y ^= (y << 15) & 0xEFC60000U;
  return y ^ (y >> 18);
}

std::size_t PythonRandom::below(std::size_t n) {
  LRQAT_CHECK(n > 0 && n < (std::uint64_t{1} << 32), n);
  const int bits = static_cast<int>(std::bit_width(n));
  while (true) {
    const std::uint32_t value = next() >> (32 - bits);
    if (value < n) return value;
  }
}

std::vector<std::size_t> PythonRandom::sample(std::size_t population, std::size_t count) {
  LRQAT_CHECK(count <= population, count, " of ", population);
  std::size_t set_size = 21;  // Python draws from a shrinking list where that is smaller than a set
  if (count > 5) {
    const double exponent = std::ceil(std::log(static_cast<double>(count) * 3) / std::log(4.0));
    set_size += static_cast<std::size_t>(std::pow(4.0, exponent));
  }
  std::vector<std::size_t> result;
  if (population <= set_size) {
    std::vector<std::size_t> pool(population);
    std::iota(pool.begin(), pool.end(), 0U);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t j = below(population - i);
      result.push_back(pool[j]);
      pool[j] = pool[population - i - 1];
    }
    return result;
  }
  std::unordered_set<std::size_t> selected;
  while (result.size() < count) {
    const std::size_t j = below(population);
    if (selected.insert(j).second) result.push_back(j);
  }
  return result;
}

}  // namespace lrqat::eval
