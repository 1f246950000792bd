// A task: a data file (lrqat/eval/tasks/*.json, built into the library) that says where its rows lie, how a
// row becomes a prompt with choices, and which figures come out. Rows are used as the datasets publish them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lrqat/eval/task_template.h"

namespace lrqat::eval {

enum class TaskKind {
  kMultipleChoice,  // the most likely choice counts: acc, acc_norm
  kLogLikelihood,   // one continuation: its perplexity, and acc where it is the greedy one
  kRolling,         // whole documents: word, byte and token perplexity
};

// How few-shot examples are chosen: the first ones, or as Python's random.Random(1234).sample gives them.
enum class FewShotSampler { kFirst, kRandom };

struct TaskDefinition {
  std::string name;
  double version = 0;
  TaskKind kind = TaskKind::kMultipleChoice;
  std::string split;               // "valid", "test"
  std::string few_shot_split;      // where examples come from
  std::vector<std::string> files;  // names tried before the usual ones (task_rows.h)
  std::vector<std::string> few_shot_files;
  std::vector<std::pair<std::string, std::vector<Template>>> fields;  // name, the first of these there is
  std::string subtask;                 // field by whose values the rows are parts of their own; "" none
  std::vector<Template> description;   // at most one: text before the examples
  std::vector<Template> prompt;        // one; of several inputs one a choice
  std::vector<Template> choices;       // one that gives a list, or one a choice
  std::vector<Template> continuation;  // one, where there are no choices or where they are in the prompt
  std::vector<Template> answer;        // index, bool, or a text that is digits or stands in `among`
  std::vector<Template> among;         // what the text of the answer is looked up in
  std::string delimiter = " ";         // between prompt and choice
  std::string example_delimiter = "\n\n";
  std::int64_t num_few_shot = 0;
  FewShotSampler sampler = FewShotSampler::kRandom;
  bool samples_extra = false;  // one example more is drawn and left over (lm-evaluation-harness does so)
  std::vector<std::string> metrics;  // those that lm-evaluation-harness reports, the first one in groups
  std::string definition;            // the data file's JSON, compact

  bool has_metric(std::string_view metric) const;
  // The row with the fields added.
  Json with_fields(const Json& row) const;
};

TaskDefinition parse_task(const Json& json, const std::string& where);

// A built-in task by name, or a task file by its path (ending in .json). Error with the known names.
TaskDefinition find_task(const std::string& name_or_file);
std::vector<std::string> task_names();

// Averages under a name: the tasks whose scores are averaged, and where that was done.
struct TaskGroup {
  std::string name;
  std::string description;
  std::vector<std::string> tasks;
};
const std::vector<TaskGroup>& task_groups();

// The tasks of a list of tasks and groups, each once, in order. Error where one is not known.
std::vector<std::string> expand_tasks(const std::vector<std::string>& names);

// What the build puts in: name of the file without .json, its text (made by cmake from lrqat/eval/tasks).
struct EmbeddedFile {
  std::string_view name;
  std::string_view text;
};
std::vector<EmbeddedFile> embedded_task_files();

}  // namespace lrqat::eval
