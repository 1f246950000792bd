// Scales beyond their type: below its smallest number they would all be that number, and the layer would
// round to zeros.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lrqat/model/decoder.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Error naming the layer, the scales that its weights [N, K] ask for and the settings that hold them. A few
// dead rows among others, which lose nothing, are no reason.
void check_scale_range(const Recipe& recipe, const std::string& layer, const at::Tensor& weight);

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
