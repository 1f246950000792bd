// Text generation with a key-value cache: greedy, or sampled with temperature and top-p. B sequences, V
// vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lrqat/base/random.h"
#include "lrqat/model/open.h"

namespace lrqat::eval {

struct GenerationOptions {
  std::int64_t max_tokens = 128;
  double temperature = 0.0;  // 0: always the most likely token
  double top_p = 1.0;        // sample among the most likely tokens that together have this probability
  std::uint64_t seed = 0;
  std::vector<std::int64_t> stop_tokens;  // end of text; the token itself is part of the result
};

// Error naming the option that is out of range.
void check_sampling(double temperature, double top_p);

// The tokens that end a text, as the model's configuration, its tokenizer and its generation_config.json say.
std::vector<std::int64_t> stop_tokens(const model::OpenedModel& model);

// One token from logits [V]. Greedy ties go to the lower id. Uses one random number a token, none if greedy.
std::int64_t sample_token(const at::Tensor& logits, const GenerationOptions& options, Random& random);

// Sequences of equal length that grow together by a token a step: every weight is read once a step, however
// many they are. Without gradients. A sequence's logits do not depend on the others but for their last
// digits, because products of other sizes add in another order.
class DecodingBatch {
 public:
  // prompts [B, T] int64 on the CPU, T > 0.
  DecodingBatch(const model::Decoder& decoder, const at::Tensor& prompts);

  // Of the next token, [B, V] on the CPU. Error where one is not finite.
  const at::Tensor& logits() const { return logits_; }
  void append(std::span<const std::int32_t> tokens);  // one a sequence
  // Only these sequences from now on, in this order. To be called before append().
  void keep(std::span<const std::int64_t> rows);

 private:
  void forward(const at::Tensor& tokens);

  const model::Decoder& decoder_;
  nn::KvCache cache_;
  at::Tensor logits_;
};

// The tokens that follow `prompt` (at least one token). `on_token` is called with each as soon as it is
// known; returning false ends the generation after it.
std::vector<std::int32_t> generate(const model::Decoder& decoder, std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int32_t)>& on_token = {});

}  // namespace lrqat::eval
