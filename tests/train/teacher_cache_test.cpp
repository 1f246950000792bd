// A teacher's logits in a folder: what was added is found again by its tokens, and nothing else is.
#include "lrqat/train/teacher_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/train/cached_teacher.h"
#include "tests/model/fixtures.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLength = 9, kVocabulary = 50;

CacheSettings settings_of(std::int64_t top_k) {
  return {.teacher = "t",
          .compute = "float32",
          .sequence_length = kLength,
          .vocabulary = kVocabulary,
          .top_k = top_k};
}

class TeacherCacheTest : public ::testing::Test {
 protected:
  TeacherCacheTest() {
    at::manual_seed(3);
    tokens_ = at::randint(0, kVocabulary, {7, kLength}, at::kLong);
  }

  // Of sequence i: values that nothing but this sequence has.
  static nn::TeacherLogits logits_of(std::int64_t i, std::int64_t top_k) {
    const auto first = static_cast<double>(1000 * i);
    const at::Tensor values = at::arange(first, first + 8.0 * static_cast<double>(top_k), at::kFloat);
    if (top_k == kVocabulary) return {{}, values.view({8, top_k}), {}};
    return {(values.to(at::kLong) % kVocabulary).view({8, top_k}), values.view({8, top_k}),
            at::arange(first, first + 8.0, at::kFloat)};
  }

  void add(TeacherCache& cache, std::int64_t begin, std::int64_t end) {
    TeacherCacheWriter writer(cache);
    for (std::int64_t i = begin; i < end; ++i) writer.add(tokens_[i], logits_of(i, cache.settings().top_k));
    writer.save();
  }

  std::string refusal(const CacheSettings& settings) const {
    try {
      const TeacherCache cache(folder(), settings);
      return "accepted";
    } catch (const Error& error) {
      return error.what();
    }
  }

  fs::path folder() const { return folder_.path() / "cache"; }

  model::testing::TemporaryFolder folder_;
  at::Tensor tokens_;
};

bool same(const at::Tensor& a, const at::Tensor& b) {
  return a.defined() == b.defined() && (!a.defined() || at::equal(a, b));
}

// In another order, in pieces that begin and end within sequences, from two parts, by another object.
TEST_F(TeacherCacheTest, GivesWhatWasAdded) {
  for (const std::int64_t top_k : {std::int64_t{4}, kVocabulary}) {
    fs::remove_all(folder());
    TeacherCache cache(folder(), settings_of(top_k));
    EXPECT_FALSE(fs::exists(folder()));
    add(cache, 0, 3);
    add(cache, 3, 6);
    EXPECT_EQ(cache.size(), 6);
    const TeacherCache again(folder(), settings_of(top_k));
    EXPECT_EQ(again.size(), 6);
    EXPECT_FALSE(again.has(sequence_key(tokens_[6])));
    EXPECT_THROW(again.logits(tokens_.slice(0, 6, 7)), Error);
    const std::vector<std::int64_t> order{5, 0, 3};
    const nn::KnownLogits known = again.logits(tokens_.index_select(0, at::tensor(order)));
    std::vector<nn::TeacherLogits> wanted;
    for (const std::int64_t i : order) wanted.push_back(logits_of(i, top_k));
    for (std::int64_t begin = 0; begin < 24; begin += 7) {
      const std::int64_t end = std::min<std::int64_t>(begin + 7, 24);
      const nn::TeacherLogits found = known(begin, end);
      const auto all = [&](at::Tensor nn::TeacherLogits::*member) {
        if (!(wanted[0].*member).defined()) return at::Tensor();
        return at::cat({wanted[0].*member, wanted[1].*member, wanted[2].*member}).slice(0, begin, end);
      };
      EXPECT_TRUE(same(found.values, all(&nn::TeacherLogits::values))) << begin;
      EXPECT_TRUE(same(found.ids, all(&nn::TeacherLogits::ids))) << begin;
      EXPECT_TRUE(same(found.rest, all(&nn::TeacherLogits::rest))) << begin;
    }
  }
}

TEST_F(TeacherCacheTest, RefusesOtherSettings) {
  TeacherCache cache(folder(), settings_of(4));
  add(cache, 0, 2);
  EXPECT_EQ(refusal(settings_of(4)), "accepted");
  const auto changed = [](auto&& change) {
    CacheSettings settings = settings_of(4);
    change(settings);
    return settings;
  };
  EXPECT_NE(refusal(settings_of(5)).find("`teacher-top-k` 4, this run has 5"), std::string::npos);
  EXPECT_NE(refusal(changed([](auto& s) { s.teacher = "u"; })).find("another teacher"), std::string::npos);
  EXPECT_NE(refusal(changed([](auto& s) { s.temperature = 2; })).find("`distill-temperature`"),
            std::string::npos);
  EXPECT_NE(refusal(changed([](auto& s) { s.compute = "bfloat16"; })).find("`compute-dtype`"),
            std::string::npos);
  EXPECT_NE(refusal(changed([](auto& s) { s.sequence_length = 8; })).find("`sequence-length`"),
            std::string::npos);
  EXPECT_NE(refusal(changed([](auto& s) { s.vocabulary = 51; })).find("vocabulary"), std::string::npos);
  // All logits give the softmax at any temperature.
  fs::remove_all(folder());
  TeacherCache all(folder(), settings_of(kVocabulary));
  add(all, 0, 1);
  CacheSettings warm = settings_of(kVocabulary);
  warm.temperature = 2;
  EXPECT_EQ(refusal(warm), "accepted");
}

// Every byte of a part counts: of its header when it is opened, of a sequence when it is read.
TEST_F(TeacherCacheTest, NoticesEveryChangedByte) {
  TeacherCache cache(folder(), settings_of(2));
  add(cache, 0, 2);
  const fs::path part = folder() / "part-000001.safetensors";
  const std::string whole = read_text_file(part);
  for (std::size_t i = 0; i < whole.size(); i += 3) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    std::ofstream(part, std::ios::binary) << damaged;
    bool noticed = false;
    try {
      const TeacherCache again(folder(), settings_of(2));
      again.logits(tokens_.slice(0, 0, 2));
    } catch (const Error& error) {
      noticed = std::string(error.what()).find("part-000001") != std::string::npos ||
                std::string(error.what()).find("does not hold") != std::string::npos;
    }
    EXPECT_TRUE(noticed) << "byte " << i;
  }
}

TEST_F(TeacherCacheTest, OneProgramAddsAtATime) {
  TeacherCache cache(folder(), settings_of(2)), other(folder(), settings_of(2));
  TeacherCacheWriter writer(cache);
  EXPECT_THROW(TeacherCacheWriter{other}, Error);
  writer.add(tokens_[0], logits_of(0, 2));  // never saved
  EXPECT_EQ(TeacherCache(folder(), settings_of(2)).size(), 0);
}

// What the steps draw, and what checkpoints are checked and chosen by.
TEST_F(TeacherCacheTest, KnowsWhatARunNeeds) {
  Recipe recipe;
  recipe.steps = 2;
  recipe.batch_size = 3;
  recipe.gradient_accumulation = 2;
  const auto words = [](std::int64_t sequences) {
    return PackedDataset(std::vector<std::int32_t>(static_cast<std::size_t>(sequences * kLength), 1),
                         kLength);
  };
  const DataSplit text{words(100), words(4), words(4)};
  const NeededSequences few = needed_sequences(recipe, text);
  EXPECT_EQ(few.choosing.size(), 4U);
  EXPECT_GE(few.training.size(), 12U);
  EXPECT_LE(few.training.size(), 13U);
  EXPECT_EQ(std::ranges::count(few.training, 0), 1);
  recipe.steps = 1000;
  EXPECT_EQ(needed_sequences(recipe, text).training.size(), 100U);
}

}  // namespace
}  // namespace lrqat::train
