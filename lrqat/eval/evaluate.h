// Runs tasks on a model: rows, prompts, scores, figures.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/eval/results_file.h"
#include "lrqat/eval/task_prompts.h"

namespace lrqat::eval {

struct EvaluateOptions {
  std::filesystem::path task_data;
  std::string split;                         // "": each task's own
  std::int64_t limit = 0;                    // rows of a task (of each subtask); 0: all
  std::optional<std::int64_t> num_few_shot;  // none: each task's own
  PromptEncoder::Bos bos = PromptEncoder::Bos::kTokenizer;
  std::int64_t max_length = 0;  // 0: the model's max_position_embeddings
  std::int64_t batch_tokens = 1024;
};

struct EvaluatedModel {
  const model::Decoder& decoder;
  const text::Tokenizer& tokenizer;
  std::string identity;  // of weights and arithmetic, for the results file
};

// Reads a task's files and makes its prompts, only to find out that they can be: the errors of all tasks come
// before any of them runs.
void check_task(const TaskDefinition& task, const EvaluateOptions& options);

// The figures of one task (task_metrics.h) with "num_fewshot", "data" and "seconds". What `results` knows is
// not computed again, what is computed is added to it.
Json evaluate_task(const TaskDefinition& task, const EvaluatedModel& model, const EvaluateOptions& options,
                   ResultsFile& results, ProgressReporter& progress);

}  // namespace lrqat::eval
