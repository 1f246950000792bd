// Packing of tokens into sequences.
#include "lrqat/train/packed_dataset.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/ignore_index.h"
#include "lrqat/corpus/documents.h"
#include "lrqat/text/tokenizer.h"
#include "tests/model/fixtures.h"

namespace lrqat::train {
namespace {

std::vector<std::int32_t> counting(std::size_t count) {
  std::vector<std::int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TEST(PackedDataset, OnlyAnswersOfInstructionDataAreTargets) {
  const auto texts = std::filesystem::path(LRQAT_TEST_DATA) / "text";
  const auto tokenizer = text::load_gpt2_files(texts / "encoder.json", texts / "vocab.bpe");
  const model::testing::TemporaryFolder folder;
  const auto path = folder.path() / "a.jsonl";
  write_text_file(path, "{\"instruction\": \"Tell.\", \"output\": \"One day a dog ran.\"}\n");
  const corpus::Document document = corpus::read_documents(path)[0];
  const auto answer = tokenizer.encode(document.text.substr(document.scored.at(0).begin));
  const auto end = static_cast<std::int64_t>(tokenizer.eos_token_id().has_value());
  const auto length = static_cast<std::int64_t>(tokenizer.encode(document.text).size()) + end;
  const auto scored = static_cast<std::int64_t>(answer.size()) + end;
  SilentProgress silent;
  const auto dataset = PackedDataset::from_files({path}, tokenizer, length, {}, silent);
  const std::int64_t first = 0;
  const at::Tensor tokens = dataset.batch({&first, 1})[0], targets = dataset.targets({&first, 1})[0];
  EXPECT_TRUE(targets.slice(0, 0, length - scored).eq(kIgnoreIndex).all().item<bool>());
  EXPECT_TRUE(at::equal(targets.slice(0, length - scored), tokens.slice(0, length - scored)));
  const at::Tensor expected = at::tensor(std::vector<std::int64_t>(answer.begin(), answer.end()));
  EXPECT_TRUE(at::equal(targets.slice(0, length - scored, length - end), expected));
}

TEST(PackedDataset, CutsEqualSequencesAndDropsTheRest) {
  const PackedDataset dataset(counting(14), 4);
  EXPECT_EQ(dataset.size(), 3);
  EXPECT_EQ(dataset.sequence_length(), 4);
  const at::Tensor batch = dataset.batch(std::vector<std::int64_t>{2, 0, 2});
  const at::Tensor expected = at::tensor({8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11}, at::kLong).view({3, 4});
  EXPECT_TRUE(at::equal(batch, expected));
}

TEST(PackedDataset, RefusesTooLittle) {
  EXPECT_THROW(PackedDataset(counting(3), 4), Error);
  EXPECT_THROW(PackedDataset({}, 4), Error);
  EXPECT_THROW(PackedDataset(counting(3), 1), UsageError);
  EXPECT_EQ(PackedDataset(counting(4), 4).size(), 1);
}

TEST(PackedDataset, RefusesIndicesOutside) {
  const PackedDataset dataset(counting(8), 4);
  EXPECT_THROW(dataset.batch(std::vector<std::int64_t>{2}), InternalError);
  EXPECT_THROW(dataset.batch(std::vector<std::int64_t>{-1}), InternalError);
}

TEST(PackedDataset, TargetsLeaveOutWhatIsNotScored) {
  const PackedDataset dataset(counting(6), 3, {0, 0, 1, 1, 0, 1});
  const std::vector<std::int64_t> order{1, 0};
  const at::Tensor expected = dataset.batch(order), targets = dataset.targets(order);
  expected[0][1] = kIgnoreIndex;
  expected[1][0] = expected[1][1] = kIgnoreIndex;
  EXPECT_TRUE(at::equal(targets, expected));
  EXPECT_NE(dataset.fingerprint(), PackedDataset(counting(6), 3).fingerprint());
  const PackedDataset plain(counting(6), 3);
  EXPECT_TRUE(at::equal(plain.targets(order), plain.batch(order)));
}

TEST(PackedDataset, FingerprintTellsTokensAndLengthApart) {
  auto other = counting(8);
  other[7] = 100;
  const PackedDataset dataset(counting(8), 4);
  EXPECT_EQ(dataset.fingerprint(), PackedDataset(counting(8), 4).fingerprint());
  EXPECT_EQ(dataset.fingerprint(), PackedDataset(counting(10), 4).fingerprint());  // the rest is never seen
  EXPECT_NE(dataset.fingerprint(), PackedDataset(counting(8), 2).fingerprint());
  EXPECT_NE(dataset.fingerprint(), PackedDataset(other, 4).fingerprint());
}

}  // namespace
}  // namespace lrqat::train
