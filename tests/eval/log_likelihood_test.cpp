// Packed rows with shared trunks and prefixes against one forward pass a request.
#include "lrqat/eval/log_likelihood.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"
#include "lrqat/model/load.h"
#include "tests/model/fixtures.h"

namespace lrqat::eval {
namespace {

using Tokens = std::vector<std::int32_t>;
constexpr double kTolerance = 1e-4;  // sums of at most a dozen log-probabilities, each 1e-5 (tests/model)

Tokens random_tokens(Random& random, std::int64_t count) {
  Tokens tokens(static_cast<std::size_t>(count));
  for (auto& token : tokens) token = static_cast<std::int32_t>(random.below(61));
  return tokens;
}

Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// The definition.
Score expected(const model::Decoder& decoder, const Request& request, std::int64_t max_length) {
  Tokens all = joined(request.context, request.continuation);
  if (static_cast<std::int64_t>(all.size()) > max_length + 1)
    all.erase(all.begin(), all.end() - (max_length + 1));
  const at::Tensor ids =
      at::tensor(at::ArrayRef<std::int32_t>(all.data(), all.size()), at::kLong).unsqueeze(0);
  const at::Tensor log_p = decoder.logits(decoder.forward(ids))[0].to(at::kDouble).log_softmax(-1);
  Score score;
  for (std::size_t i = all.size() - request.continuation.size(); i < all.size(); ++i) {
    const at::Tensor row = log_p[static_cast<std::int64_t>(i) - 1];
    score.log_likelihood += row[all[i]].item<double>();
    score.greedy = score.greedy && row.argmax().item<std::int64_t>() == all[i];
  }
  return score;
}

std::vector<std::vector<Score>> found(const model::Decoder& decoder,
                                      const std::vector<std::vector<Request>>& documents,
                                      const LogLikelihoodOptions& options) {
  std::vector<std::vector<Score>> scores;
  log_likelihoods(decoder, documents, options, [&](std::size_t index, std::vector<Score> of_document) {
    EXPECT_EQ(index, scores.size());
    scores.push_back(std::move(of_document));
  });
  return scores;
}

void expect_definition(const model::Decoder& decoder, const std::vector<std::vector<Request>>& documents,
                       const LogLikelihoodOptions& options) {
  const at::NoGradGuard no_grad;
  const auto scores = found(decoder, documents, options);
  ASSERT_EQ(scores.size(), documents.size());
  for (std::size_t d = 0; d < documents.size(); ++d) {
    ASSERT_EQ(scores[d].size(), documents[d].size());
    for (std::size_t r = 0; r < documents[d].size(); ++r) {
      const Score score = expected(decoder, documents[d][r], options.max_length);
      EXPECT_NEAR(scores[d][r].log_likelihood, score.log_likelihood, kTolerance) << d << " " << r;
      EXPECT_EQ(scores[d][r].greedy, score.greedy) << d << " " << r;
    }
  }
}

// Questions with choices of 1 to 4 tokens, some of which begin alike, behind `before`.
std::vector<std::vector<Request>> questions(Random& random, int count, const Tokens& before) {
  std::vector<std::vector<Request>> documents;
  for (int i = 0; i < count; ++i) {
    const Tokens context = joined(before, random_tokens(random, 1 + i % 7));
    std::vector<Request> requests;
    for (int choice = 0; choice < 2 + i % 3; ++choice) {
      requests.push_back({context, joined({5}, random_tokens(random, i % 2 == 0 ? choice : 0))});
      if (i % 2 != 0) requests.back().continuation = {static_cast<std::int32_t>(choice)};
    }
    documents.push_back(std::move(requests));
  }
  return documents;
}

TEST(LogLikelihoods, AreTheDefinition) {
  const auto decoder = model::load_float_model(model::testing::model_data("biases"));
  Random random(3);
  const auto documents = questions(random, 12, {});
  for (const std::int64_t batch : {1, 20, 4096}) expect_definition(*decoder, documents, {2048, batch});
}

TEST(LogLikelihoods, ShareAPrefixThroughTheCache) {
  const auto decoder = model::load_float_model(model::testing::model_data("linear_rope"));
  Random random(4);
  auto documents = questions(random, 3, {});
  const auto examples = questions(random, 9, random_tokens(random, 50));
  documents.insert(documents.end(), examples.begin(), examples.end());
  documents.push_back({{{7}, {8, 9}}});
  expect_definition(*decoder, documents, {2048, 100});
}

TEST(LogLikelihoods, DropTheBeginningOfLongRequests) {
  const auto decoder = model::load_float_model(model::testing::model_data("biases"));
  Random random(5);
  const std::vector<std::vector<Request>> documents = {
      {{random_tokens(random, 30), random_tokens(random, 3)},
       {random_tokens(random, 4), random_tokens(random, 5)}}};
  expect_definition(*decoder, documents, {12, 64});
  const std::vector<std::vector<Request>> too_long = {{{{1}, random_tokens(random, 13)}}};
  EXPECT_THROW(found(*decoder, too_long, {12, 64}), Error);
}

}  // namespace
}  // namespace lrqat::eval
