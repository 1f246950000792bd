// Figures of a task from the scores of its prompts, by lm-evaluation-harness' definitions.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/eval/log_likelihood.h"
#include "lrqat/eval/task.h"
#include "lrqat/eval/task_prompts.h"

namespace lrqat::eval {

// What one prompt gave: a score a pair; for a rolling document one, and the tokens that it is a sum of.
struct PromptResult {
  std::vector<Score> scores;
  std::int64_t tokens = 0;
};

// multiple choice: acc (the most likely choice is right), acc_norm (the same by log-likelihood a character),
// each with the standard error of a mean (sample deviation / sqrt(n)); of subtasks, by lm-evaluation-harness'
// pooled variance. Null where one sample allows none.
// one continuation: acc (it is the greedy one), perplexity exp(-mean log-likelihood).
// rolling: word_perplexity, byte_perplexity, bits_per_byte, perplexity (a token).
Json task_metrics(const TaskDefinition& task, std::span<const TaskPrompt> prompts,
                  std::span<const PromptResult> results);

// Of every group whose tasks all have an acc: their mean "acc", and "acc_norm": the mean of acc_norm where
// lm-evaluation-harness reports it and of acc elsewhere. {"<group>": {"acc", "acc_stderr", "acc_norm",
// "tasks"}}
Json group_metrics(const Json& tasks);

}  // namespace lrqat::eval
