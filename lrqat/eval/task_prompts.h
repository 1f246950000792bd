// Rows of a task as text: the context and the continuations that are scored after it, with few-shot examples,
// and as tokens. Both as lm-evaluation-harness (0.4.x) makes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/eval/log_likelihood.h"
#include "lrqat/eval/task.h"
#include "lrqat/eval/task_rows.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::eval {

struct PromptPair {
  std::string context;
  std::string continuation;
};

// One row: what is scored and what is right.
struct TaskPrompt {
  std::vector<PromptPair> pairs;      // one a choice; one for the other kinds
  std::int64_t answer = 0;            // of multiple choice
  std::vector<std::int64_t> lengths;  // characters of each choice, what acc_norm divides by
  std::string subtask;
  std::int64_t words = 0;  // of a rolling document, in its original text
  std::int64_t bytes = 0;
};

// `limit` > 0: only so many rows of each subtask. `examples` may be empty where num_few_shot is 0.
std::vector<TaskPrompt> make_prompts(const TaskDefinition& task, const std::vector<TaskRow>& rows,
                                     const std::vector<TaskRow>& examples, std::int64_t num_few_shot,
                                     std::int64_t limit);

// Text to tokens: special tokens as the tokenizer's own template adds them, or never, or always a BOS.
class PromptEncoder {
 public:
  enum class Bos { kTokenizer, kNever, kAlways };
  PromptEncoder(const text::Tokenizer& tokenizer, Bos bos);

  // The context's tokens, and what the tokens of both together have after as many. White space at the end of
  // the context belongs to the continuation. An empty context is BOS, else end of text.
  Request encode(const PromptPair& pair) const;
  // A whole document, cut into windows that do not overlap; the first token follows BOS (else end of text).
  std::vector<Request> encode_rolling(const std::string& text, std::int64_t max_length) const;

  bool adds_bos() const { return adds_bos_; }

 private:
  std::vector<std::int32_t> tokens(const std::string& text) const;
  std::int32_t prefix_token() const;

  const text::Tokenizer& tokenizer_;
  Bos bos_;
  bool adds_bos_;
  std::string bos_text_;
};

}  // namespace lrqat::eval
