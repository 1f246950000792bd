#include "lrqat/eval/sample_text.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>

#include "lrqat/base/error.h"
#include "lrqat/eval/document_filter.h"
#include "lrqat/eval/generation.h"
#include "lrqat/model/load.h"
#include "tests/model/fixtures.h"

namespace lrqat::eval {
namespace {

using Ids = std::vector<std::int32_t>;

Ids counting_from(std::int32_t first, std::size_t count) {
  Ids ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

TEST(DocumentFilter, KeepsWhatIsNew) {
  DocumentFilter filter;
  EXPECT_EQ(filter.add(counting_from(0, 100)), DocumentVerdict::kept);
  EXPECT_EQ(filter.add(counting_from(100, 100)), DocumentVerdict::kept);
  EXPECT_EQ(filter.add(Ids{1, 2}), DocumentVerdict::kept);
  EXPECT_EQ(filter.add(Ids{}), DocumentVerdict::empty);
}

TEST(DocumentFilter, DropsCopiesWholeAndNear) {
  DocumentFilter filter;
  filter.add(counting_from(0, 100));
  EXPECT_EQ(filter.add(counting_from(0, 100)), DocumentVerdict::duplicate);
  EXPECT_EQ(filter.add(counting_from(20, 100)), DocumentVerdict::duplicate);  // 73 of 93 runs are known
  EXPECT_EQ(filter.add(counting_from(60, 100)), DocumentVerdict::kept);       // 33 of 93
  filter.add(Ids{1, 2});
  EXPECT_EQ(filter.add(Ids{1, 2}), DocumentVerdict::duplicate);
  EXPECT_EQ(filter.add(Ids{2, 1}), DocumentVerdict::kept);
}

TEST(DocumentFilter, DropsLoops) {
  DocumentFilter filter;
  Ids loop;
  for (std::int32_t i = 0; i < 100; ++i) loop.push_back(i % 5);
  EXPECT_EQ(filter.add(loop), DocumentVerdict::repetition);
  Ids ends_in_loop = counting_from(100, 100);
  for (std::int32_t i = 0; i < 60; ++i) ends_in_loop.push_back(i % 3);
  EXPECT_EQ(filter.add(ends_in_loop), DocumentVerdict::repetition);
  // What was dropped is not remembered.
  EXPECT_EQ(filter.add(counting_from(100, 100)), DocumentVerdict::kept);
}

// Every row of a batch is what the sequence is alone, also when others have been dropped.
TEST(DecodingBatch, RowsAreTheirSequences) {
  const auto decoder = model::load_float_model(model::testing::model_data("llama3_rope"));
  const at::Tensor prompts = at::tensor({5, 17, 42, 8, 1, 30}, at::kLong).view({3, 2});
  const std::array<Ids, 3> rows{Ids{5, 17, 3, 9}, Ids{42, 8, 4, 7}, Ids{1, 30, 11, 2}};
  DecodingBatch batch(*decoder, prompts);
  batch.append(std::array{3, 4, 11});
  batch.keep(std::array<std::int64_t, 2>{0, 2});
  batch.append(std::array{9, 2});
  for (const std::size_t row : {0U, 2U}) {
    const at::NoGradGuard no_grad;
    const at::Tensor ids = at::tensor(at::ArrayRef<std::int32_t>(rows.at(row)), at::kLong).unsqueeze(0);
    const at::Tensor alone = decoder->logits(decoder->forward(ids))[0][-1];
    EXPECT_TRUE(at::allclose(batch.logits()[row == 0 ? 0 : 1], alone, 1e-4, 1e-5)) << row;
  }
}

// All tokens are less likely than those that are ranked first: the draw still reaches every one.
TEST(SampleToken, ReachesUnlikelyTokens) {
  constexpr std::int64_t kTokens = 20000;
  Random random(3);
  double mean = 0;
  for (int i = 0; i < 100; ++i) {
    mean += static_cast<double>(sample_token(at::zeros({kTokens}), {.temperature = 1.0}, random)) / 100;
  }
  const double error = kTokens / std::sqrt(12.0 * 100);
  EXPECT_NEAR(mean, kTokens / 2.0, 5 * error);
}

TEST(SampleText, OptionsFollowTheModel) {
  const auto decoder = model::load_float_model(model::testing::model_data("biases"));
  const std::int64_t positions = decoder->config().max_position_embeddings;
  const SampleTextOptions fitted = fit_to_model({}, *decoder);
  EXPECT_EQ(fitted.sequence_length, std::min<std::int64_t>(512, positions));
  EXPECT_EQ(fitted.batch_size, 32);
  EXPECT_THROW(fit_to_model({.sequence_length = positions + 1}, *decoder), UsageError);
  EXPECT_THROW(fit_to_model({.temperature = -1}, *decoder), Error);
  EXPECT_THROW(parse_first_token("bos"), UsageError);
}

}  // namespace
}  // namespace lrqat::eval
