// Log-likelihoods of continuations given contexts, as lm-evaluation-harness defines them: the sum over the
// continuation's tokens of log p(token | all tokens before it), and whether each of them is the most likely.
// The requests of a document (the choices of a question) share what they have in common, documents that begin
// alike (few-shot examples) share that through a key-value cache, and all go through the model packed in rows
// without padding. V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lrqat/model/decoder.h"

namespace lrqat::eval {

struct Request {
  std::vector<std::int32_t> context;       // at least one token
  std::vector<std::int32_t> continuation;  // at least one token
};

struct Score {
  double log_likelihood = 0;  // nats
  bool greedy = true;  // every token of the continuation is the most likely one (the lowest id of equals)
};

struct LogLikelihoodOptions {
  // Longer requests lose tokens at their beginning; a continuation longer than this is an Error.
  std::int64_t max_length = 2048;
  std::int64_t batch_tokens = 1024;  // about so many go through the model at once
};

// requests of one document -> their scores, in the same order.
using OnDocument = std::function<void(std::size_t document, std::vector<Score> scores)>;

// Calls `on_document` for every document, in order, as soon as its scores are known.
void log_likelihoods(const model::Decoder& decoder, std::span<const std::vector<Request>> documents,
                     const LogLikelihoodOptions& options, const OnDocument& on_document);

}  // namespace lrqat::eval
