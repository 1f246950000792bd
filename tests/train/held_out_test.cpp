// Which sequences are held out: spread, disjoint, only where something is scored, none of too little data.
#include "lrqat/train/held_out.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

constexpr std::int64_t kLength = 8;

// Sequence i is the token i, eight times; scored where `scored(i)`.
template <typename Scored>
PackedDataset dataset(std::int64_t size, const Scored& scored) {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> flags;
  for (std::int64_t i = 0; i < size; ++i) {
    tokens.insert(tokens.end(), kLength, static_cast<std::int32_t>(i));
    flags.insert(flags.end(), kLength, scored(i) ? 1 : 0);
  }
  return {std::move(tokens), kLength, std::move(flags)};
}

std::set<std::int64_t> sequences_of(const PackedDataset& data) {
  std::set<std::int64_t> found;
  for (std::int64_t i = 0; i < data.size(); ++i)
    found.insert(data.batch(std::span(&i, 1))[0][0].item<std::int64_t>());
  return found;
}

DataSplit split_of(const PackedDataset& data, double share) {
  SilentProgress silent;
  return split(data, share, silent);
}

TEST(HeldOut, PartsAreDisjointSpreadAndTheSameEveryTime) {
  const auto data = dataset(1000, [](auto) { return true; });
  const DataSplit parts = split_of(data, 0.02);
  ASSERT_TRUE(parts.choosing && parts.reporting);
  EXPECT_EQ(sequences_of(*parts.choosing),
            (std::set<std::int64_t>{25, 125, 225, 325, 425, 525, 625, 725, 825, 925}));
  EXPECT_EQ(sequences_of(*parts.reporting),
            (std::set<std::int64_t>{75, 175, 275, 375, 475, 575, 675, 775, 875, 975}));
  auto all = sequences_of(parts.training);
  EXPECT_EQ(all.size(), 980U);
  all.merge(sequences_of(*parts.choosing));
  all.merge(sequences_of(*parts.reporting));
  EXPECT_EQ(all.size(), 1000U);
  EXPECT_EQ(split_of(data, 0.02).training.fingerprint(), parts.training.fingerprint());
}

// Sequences 0 to 99 weigh 2.5, the others half.
TEST(HeldOut, WeightsRepeatWhatIsTrainedOnAndNothingElse) {
  std::vector<std::int32_t> tokens;
  std::vector<double> weights;
  for (std::int32_t i = 0; i < 200; ++i) {
    tokens.insert(tokens.end(), kLength, i);
    weights.push_back(i < 100 ? 2.5 : 0.5);
  }
  const PackedDataset data(tokens, kLength, {}, weights);
  EXPECT_NE(data.fingerprint(), PackedDataset(tokens, kLength).fingerprint());
  const DataSplit whole = split_of(data, 0.0);
  EXPECT_FALSE(whole.choosing);
  EXPECT_EQ(whole.training.size(), 300);  // 250 and 50
  std::vector<std::int64_t> seen(200);
  for (std::int64_t i = 0; i < whole.training.size(); ++i)
    ++seen.at(whole.training.batch(std::span(&i, 1))[0][0].item<std::int64_t>());
  for (std::size_t i = 0; i < 100; ++i) EXPECT_TRUE(seen[i] == 2 || seen[i] == 3) << i;
  for (std::size_t i = 100; i < 200; ++i) EXPECT_LE(seen[i], 1) << i;
  const DataSplit parts = split_of(data, 0.1);
  ASSERT_TRUE(parts.choosing && parts.reporting);
  EXPECT_EQ(parts.choosing->size(), 10);
  auto held = sequences_of(*parts.choosing);
  held.merge(sequences_of(*parts.reporting));
  EXPECT_EQ(held.size(), 20U);
  for (const std::int64_t sequence : sequences_of(parts.training)) EXPECT_FALSE(held.contains(sequence));
}

TEST(HeldOut, AtMostSomeThousandTokens) {
  const DataSplit parts = split_of(dataset(4000, [](auto) { return true; }), 0.5);
  EXPECT_EQ(parts.choosing->size() * kLength, 4096);
  EXPECT_EQ(parts.reporting->size() * kLength, 4096);
}

TEST(HeldOut, OnlyWhereSomethingIsScored) {
  const DataSplit parts = split_of(dataset(1000, [](auto i) { return i % 10 == 3; }), 0.02);
  for (const auto& part : {*parts.choosing, *parts.reporting}) {
    for (const std::int64_t i : sequences_of(part)) EXPECT_EQ(i % 10, 3);
    EXPECT_EQ(part.scored(), part.size() * (kLength - 1));
  }
  EXPECT_EQ(parts.training.scored(), (100 - 20) * (kLength - 1));
}

TEST(HeldOut, NothingOfLittleDataOrWhereNothingIsAskedFor) {
  EXPECT_FALSE(split_of(dataset(19, [](auto) { return true; }), 0.02).choosing);
  EXPECT_TRUE(split_of(dataset(20, [](auto) { return true; }), 0.02).choosing);
  EXPECT_FALSE(split_of(dataset(20, [](auto i) { return i < 2; }), 0.02).choosing)
      << "both scored ones are trained on";
  const DataSplit none = split_of(dataset(1000, [](auto) { return true; }), 0.0);
  EXPECT_FALSE(none.choosing || none.reporting);
  EXPECT_EQ(none.training.size(), 1000);
}

TEST(HeldOut, NothingScoredIsAnError) {
  try {
    split_of(dataset(100, [](auto) { return false; }), 0.0);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("`sequence-length`"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lrqat::train
