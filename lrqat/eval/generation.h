// Text generation with a key-value cache: greedy, or sampled with temperature and top-p. V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lrqat/base/random.h"
#include "lrqat/model/decoder.h"

namespace lrqat::eval {

struct GenerationOptions {
  std::int64_t max_tokens = 128;
  double temperature = 0.0;  // 0: always the most likely token
  double top_p = 1.0;        // sample among the most likely tokens that together have this probability
  std::uint64_t seed = 0;
  std::vector<std::int64_t> stop_tokens;  // end of text; the token itself is part of the result
};

// One token from logits [V]. Greedy ties go to the lower id. Uses one random number a token, none if greedy.
std::int64_t sample_token(const at::Tensor& logits, const GenerationOptions& options, Random& random);

// The tokens that follow `prompt` (at least one token). `on_token` is called with each as soon as it is
// known; returning false ends the generation after it.
std::vector<std::int32_t> generate(const model::Decoder& decoder, std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int32_t)>& on_token = {});

}  // namespace lrqat::eval
