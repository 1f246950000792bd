// Test helper: calibration text for the models of tests/model/random_model.h, whose vocabulary has 80 tokens.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "lrqat/train/packed_dataset.h"

namespace lrqat::start {

// Always the same tokens, in sequences of 16.
inline train::PackedDataset random_text(std::int64_t count) {
  at::manual_seed(4);
  const at::Tensor tokens = at::randint(80, {count}, at::kInt);
  const auto* data = tokens.const_data_ptr<std::int32_t>();
  return {std::vector<std::int32_t>(data, data + count), 16};
}

}  // namespace lrqat::start
