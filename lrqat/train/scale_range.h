// Scales that training drives beyond their type. Those that a start would begin with: start/scale_range.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lrqat/model/decoder.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Looks out for scales that training drives to the end of their type, where they stay.
class ScaleWatch {
 public:
  // student: before training, or where it goes on.
  ScaleWatch(const Recipe& recipe, const model::Decoder& student);
  // A sentence for each layer and end that has not had one: how many of its scales are there, of those that
  // were not from the start, and what helps. A hundredth of a layer's scales is no reason.
  std::vector<std::string> news(const model::Decoder& student);

 private:
  struct AtEnds {
    std::int64_t all = 0, smallest = 0, largest = 0;
  };
  std::map<std::string, AtEnds> look(const model::Decoder& student) const;

  Recipe recipe_;
  std::map<std::string, AtEnds> start_;  // by linear
};

}  // namespace lrqat::train
