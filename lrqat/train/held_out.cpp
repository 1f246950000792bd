#include "lrqat/train/held_out.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

using Indices = std::vector<std::int64_t>;

constexpr std::int64_t kMostTokens =
    4096;  // of each held-out part: an evaluation costs little beside training
constexpr double kMostOfShortData = 0.1;

Indices scored_sequences(const PackedDataset& data) {
  Indices found;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    if (data.scored(i) > 0) found.push_back(i);
  }
  if (!found.empty()) return found;
  fail("nothing of the training data is scored: in all ", data.size(), " sequences of `sequence-length` ",
       data.sequence_length(),
       " there is no token of an answer, only prompts, which are not learned; give a larger "
       "`sequence-length` or more "
       "examples");
}

// Sequences of each of the two parts.
std::int64_t part_size(const PackedDataset& data, double share) {
  if (share == 0.0) return 0;
  const auto size = static_cast<double>(data.size());
  const std::int64_t most = std::max<std::int64_t>(1, kMostTokens / data.sequence_length());
  const std::int64_t part = std::clamp<std::int64_t>(static_cast<std::int64_t>(share * size / 2.0), 1, most);
  return 2.0 * static_cast<double>(part) > std::max(share, kMostOfShortData) * size ? 0 : part;
}

}  // namespace

DataSplit split(PackedDataset all, double share, ProgressReporter& progress) {
  const Indices candidates = scored_sequences(all);
  const auto found = static_cast<std::int64_t>(candidates.size());
  const std::int64_t part = part_size(all, share), held = 2 * part;
  if (share > 0.0 && (part == 0 || held >= found)) {
    progress.message(concat("the data has ", all.size(),
                            " sequences, too few to hold some out: all are trained on, the "
                            "last checkpoint is kept, and no quality is measured without `eval-data`"));
  }
  if (part == 0 || held >= found) return {std::move(all), std::nullopt, std::nullopt};
  Indices training(static_cast<std::size_t>(all.size())), choosing, reporting;
  std::iota(training.begin(), training.end(), std::int64_t{0});
  for (std::int64_t i = 0; i < held; ++i) {  // the middle of each of `held` equal stretches
    const std::int64_t index = candidates.at(static_cast<std::size_t>((2 * i + 1) * found / (2 * held)));
    (i % 2 == 0 ? choosing : reporting).push_back(index);
    training.at(static_cast<std::size_t>(index)) = -1;
  }
  std::erase(training, -1);
  return {all.subset(training), all.subset(choosing), all.subset(reporting)};
}

}  // namespace lrqat::train
