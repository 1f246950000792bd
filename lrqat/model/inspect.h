// What a file or folder holds, whatever its format: a row a tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/model/activations.h"
#include "lrqat/model/open.h"
#include "lrqat/quant/grid.h"

namespace lrqat::model {

struct InspectedTensor {
  std::string name;
  std::string dtype;  // as the format calls it; int4 (two a byte) or int8 for integers of ours
  std::vector<std::int64_t> shape;
  std::size_t bytes = 0;        // scales included
  std::string sha256;           // of the stored bytes; of integers and scales where they are ours
  std::optional<int> num_bits;  // nothing where it holds floats
  std::optional<quant::Granularity> granularity;  // of the scales
  std::vector<std::int64_t> histogram;            // of codes, from the grid's smallest on; empty: no integers
  double clipped_fraction = 0;                    // of weights that training or rounding clipped, where known
  Json training;  // of a run: what its last report says of this layer, put in by who reads that; else null

  // Codes on the two ends of the grid, clipped weights among them: what every file tells.
  double edge_fraction() const {
    const std::int64_t total = std::accumulate(histogram.begin(), histogram.end(), std::int64_t{0});
    return total == 0
               ? 0.0
               : static_cast<double>(histogram.front() + histogram.back()) / static_cast<double>(total);
  }

  std::int64_t elements() const {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    return count;
  }
};

struct Inspection {
  std::string kind;
  std::string sha256;  // of all trained integers and scales; empty: none here
  std::vector<InspectedTensor> rows;
  StoredActivations activations{};
};

// A safetensors or GGUF file, or a folder of Hugging Face's or of integers. Error where it is none.
Inspection inspect(const std::filesystem::path& path);
// A model with integers, from a folder of them or a run: integers from the model, all else from the files.
Inspection inspect(const OpenedModel& model);

}  // namespace lrqat::model
