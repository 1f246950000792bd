#include "lrqat/train/held_out.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

using Indices = std::vector<std::int64_t>;

constexpr std::int64_t kMostTokens =
    4096;  // of each held-out part: an evaluation costs little beside training
constexpr double kMostOfShortData = 0.1;
constexpr double kRounding = 1e-9;  // of sums of weights, so that ten tenths are one

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

// Each as often as its weight says: of 2.5, every one twice and every other once more.
Indices repeated(const PackedDataset& data, const Indices& indices) {
  Indices out;
  for (double due = 0.0; const std::int64_t index : indices) {
    const double weight = data.weight(index), whole = std::floor(weight);
    due += weight - whole;
    const bool once_more = due >= 1.0 - kRounding;
    if (once_more) due -= 1.0;
    out.insert(out.end(), static_cast<std::size_t>(whole) + (once_more ? 1 : 0), index);
  }
  if (out.empty()) fail("the weights of `data` leave nothing to train on; give larger ones");
  return out;
}

bool has_weights(const PackedDataset& data) {
  for (std::int64_t i = 0; i < data.size(); ++i) {
    if (data.weight(i) != 1.0) return true;
  }
  return false;
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
  const bool none = part == 0 || held >= found;
  if (none && !has_weights(all)) return {std::move(all), std::nullopt, std::nullopt};
  Indices training(static_cast<std::size_t>(all.size())), choosing, reporting;
  std::iota(training.begin(), training.end(), std::int64_t{0});
  for (std::int64_t i = 0; !none && i < held; ++i) {  // the middle of each of `held` equal stretches
    const std::int64_t index = candidates.at(static_cast<std::size_t>((2 * i + 1) * found / (2 * held)));
    (i % 2 == 0 ? choosing : reporting).push_back(index);
    training.at(static_cast<std::size_t>(index)) = -1;
  }
  std::erase(training, -1);
  const Indices seen = repeated(all, training);
  if (none) return {all.subset(seen), std::nullopt, std::nullopt};
  return {all.subset(seen), all.subset(choosing), all.subset(reporting)};
}

}  // namespace lrqat::train
