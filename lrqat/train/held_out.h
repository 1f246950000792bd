// The training data in three parts: what is trained on (and calibrated on), a little to choose the best
// checkpoint by, and as much again to report its quality on. Which sequences are held out depends on the data
// alone, so a resumed run has the same parts.
#pragma once

#include <optional>

#include "lrqat/base/progress.h"
#include "lrqat/train/packed_dataset.h"

namespace lrqat::train {

struct DataSplit {
  PackedDataset training;
  std::optional<PackedDataset> choosing;  // nothing is held out: both are absent
  std::optional<PackedDataset> reporting;
};

// Holds `share` of the sequences out, at least one for each purpose and at most 4096 tokens for each, evenly
// spread over the data; only sequences where something is scored. Where one for each would be more than a
// tenth of the data (or than `share`), none is held out, and `progress` says so. share 0: none. Error where
// nothing of the data is scored at all. What is trained on is repeated by its weights; what is held out is in
// none of the repetitions.
DataSplit split(PackedDataset all, double share, ProgressReporter& progress);

}  // namespace lrqat::train
