// Python's random.Random(seed).sample, so that few-shot examples are those that lm-evaluation-harness draws:
// the Mersenne Twister (Matsumoto and Nishimura, 1998) seeded by init_by_array.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace lrqat::eval {

class PythonRandom {
 public:
  explicit PythonRandom(std::uint32_t seed);

  // random.sample(range(population), count); count <= population.
  std::vector<std::size_t> sample(std::size_t population, std::size_t count);
  std::size_t below(std::size_t n);  // random.randrange(n), 0 < n < 2^32

 private:
  std::uint32_t next();
  void seed_by_number(std::uint32_t seed);

  static constexpr std::size_t kSize = 624;
  std::array<std::uint32_t, kSize> state_{};
  std::size_t index_ = kSize;
};

}  // namespace lrqat::eval
