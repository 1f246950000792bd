// The order in which sequences are seen: every epoch a new permutation, made from seed and epoch alone, so
// that the position is the whole state and a run resumes bit for bit.
#pragma once

#include <cstdint>
#include <vector>

namespace lrqat::train {

class Sampler {
 public:
  // size > 0 sequences. Without `shuffle` they come in order, again and again.
  Sampler(std::int64_t size, std::uint64_t seed, bool shuffle = true);

  std::vector<std::int64_t> next(
      std::int64_t count);  // the next `count` indices; runs over into the next epoch
  std::int64_t position() const { return position_; }  // indices given so far, over all epochs
  void seek(std::int64_t position);
  double epochs() const;  // position / size

 private:
  void make_epoch(std::int64_t epoch);

  std::int64_t size_;
  std::uint64_t seed_;
  bool shuffle_;
  std::int64_t position_ = 0;
  std::int64_t epoch_ = -1;  // the one that order_ is for
  std::vector<std::int64_t> order_;
};

}  // namespace lrqat::train
