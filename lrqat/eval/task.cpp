#include "lrqat/eval/task.h"

#include <algorithm>
#include <array>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/base/user_text.h"

namespace lrqat::eval {
namespace {

constexpr std::string_view kGroupFile = "groups";

template <typename T, std::size_t N>
T named(const std::array<std::pair<std::string_view, T>, N>& rows, const std::string& name,
        const std::string& where) {
  for (const auto& [known, value] : rows) {
    if (known == name) return value;
  }
  std::string known;
  for (const auto& row : rows) known += concat(known.empty() ? "" : ", ", row.first);
  fail(where, ": ", quote(name), " is not known; known: ", known);
}

constexpr std::array<std::pair<std::string_view, TaskKind>, 3> kKinds{
    {{"multiple_choice", TaskKind::kMultipleChoice},
     {"loglikelihood", TaskKind::kLogLikelihood},
     {"rolling", TaskKind::kRolling}}};
constexpr std::array<std::pair<std::string_view, FewShotSampler>, 2> kSamplers{
    {{"first", FewShotSampler::kFirst}, {"random", FewShotSampler::kRandom}}};

// One text or a list of them; nothing where the key is missing.
std::vector<std::string> texts(const Json& json, const std::string& key, const std::string& where) {
  const auto found = json.find(key);
  if (found == json.end()) return {};
  if (found->is_string()) return {found->get<std::string>()};
  return json_get<std::vector<std::string>>(json, key, where);
}

std::vector<Template> templates(const Json& json, const std::string& key, const std::string& where) {
  std::vector<Template> out;
  for (const std::string& text : texts(json, key, where)) out.emplace_back(text, where + ": " + key);
  return out;
}

void check_keys(const Json& json, const std::string& where) {
  constexpr std::array<std::string_view, 17> kKeys{
      "task",    "version",     "kind",    "split",        "files",    "fields",
      "subtask", "description", "prompt",  "continuation", "answer",   "choices",
      "among",   "few_shot",    "metrics", "comment",      "delimiter"};
  if (!json.is_object()) fail(where, ": expected a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end())
      fail(where, ": key ", quote(key), " is not known");
  }
}

void parse_few_shot(TaskDefinition& task, const Json& json, const std::string& where) {
  const Json few_shot = json_get_or<Json>(json, "few_shot", Json::object(), where);
  task.num_few_shot = json_get_or<std::int64_t>(few_shot, "count", 0, where);
  task.few_shot_split = json_get_or<std::string>(few_shot, "split", "train", where);
  task.few_shot_files = texts(few_shot, "files", where);
  task.sampler = named(kSamplers, json_get_or<std::string>(few_shot, "sampler", "random", where), where);
  task.samples_extra = json_get_or<bool>(few_shot, "samples_extra", false, where);
}

void check_parts(const TaskDefinition& task, const std::string& where) {
  const auto require = [&](bool condition, std::string_view what) {
    if (!condition) fail(where, ": ", what);
  };
  switch (task.kind) {
    case TaskKind::kMultipleChoice:
      require(task.answer.size() == 1, "a multiple_choice task has one \"answer\"");
      require(task.prompt.size() == 1 ? !task.choices.empty() : task.continuation.size() == 1,
              "a multiple_choice task has a \"prompt\" with \"choices\", or several prompts and one "
              "\"continuation\"");
      break;
    case TaskKind::kLogLikelihood:
      require(task.prompt.size() == 1 && task.continuation.size() == 1,
              "a loglikelihood task has a \"prompt\" and a \"continuation\"");
      break;
    case TaskKind::kRolling:
      require(task.continuation.size() == 1, "a rolling task has a \"continuation\": the text of a document");
  }
}

std::vector<TaskGroup> read_groups() {
  std::vector<TaskGroup> groups;
  for (const EmbeddedFile& file : embedded_task_files()) {
    if (file.name != kGroupFile) continue;
    for (const Json& group : parse_json(file.text, "groups.json")) {
      groups.push_back({group.at("group"), group.at("description"), group.at("tasks")});
    }
  }
  return groups;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += concat(out.empty() ? "" : ", ", name);
  return out;
}

bool is_file_name(const std::string& name) { return std::filesystem::path(name).extension() == ".json"; }

}  // namespace

bool TaskDefinition::has_metric(std::string_view metric) const {
  return std::find(metrics.begin(), metrics.end(), metric) != metrics.end();
}

Json TaskDefinition::with_fields(const Json& row) const {
  Json out = row;
  for (const auto& [name, alternatives] : fields) {
    Json value;
    for (const Template& alternative : alternatives) {
      value = alternative.evaluate(row);
      if (!value.is_null() && !value.is_object()) break;
    }
    out[name] = std::move(value);
  }
  return out;
}

TaskDefinition parse_task(const Json& json, const std::string& where) {
  check_keys(json, where);
  TaskDefinition task;
  task.name = json_get<std::string>(json, "task", where);
  task.version = json_get<double>(json, "version", where);
  task.kind = named(kKinds, json_get<std::string>(json, "kind", where), where);
  task.split = json_get<std::string>(json, "split", where);
  task.files = texts(json, "files", where);
  const Json fields = json_get_or<Json>(json, "fields", Json::object(), where);
  for (const auto& [name, value] : fields.items())
    task.fields.emplace_back(name, templates(fields, name, where));
  task.subtask = json_get_or<std::string>(json, "subtask", "", where);
  task.description = templates(json, "description", where);
  task.prompt = templates(json, "prompt", where);
  task.choices = templates(json, "choices", where);
  task.continuation = templates(json, "continuation", where);
  task.answer = templates(json, "answer", where);
  task.among = templates(json, "among", where);
  task.delimiter = json_get_or<std::string>(json, "delimiter", " ", where);
  task.metrics = texts(json, "metrics", where);
  parse_few_shot(task, json, where);
  check_parts(task, where);
  task.definition = json_text(json);
  return task;
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : embedded_task_files()) {
    if (file.name != kGroupFile) names.emplace_back(file.name);
  }
  return names;
}

TaskDefinition find_task(const std::string& name_or_file) {
  if (is_file_name(name_or_file)) return parse_task(read_json_file(name_or_file), name_or_file);
  for (const EmbeddedFile& file : embedded_task_files()) {
    const std::string where = concat("task ", file.name);
    if (file.name == name_or_file && file.name != kGroupFile)
      return parse_task(parse_json(file.text, where), where);
  }
  std::vector<std::string> groups;
  for (const TaskGroup& group : task_groups()) groups.push_back(group.name);
  throw UsageError(concat("`tasks`: task ", quote(name_or_file),
                          " is not known; known tasks: ", joined(task_names()), "; groups: ", joined(groups),
                          "; or the path of a task file (.json)"));
}

const std::vector<TaskGroup>& task_groups() {
  static const std::vector<TaskGroup> groups = read_groups();
  return groups;
}

std::vector<std::string> expand_tasks(const std::vector<std::string>& names) {
  std::vector<std::string> out;
  const auto add = [&](const std::string& name) {
    if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
  };
  for (const std::string& name : names) {
    const auto group = std::find_if(task_groups().begin(), task_groups().end(),
                                    [&](const TaskGroup& g) { return g.name == name; });
    if (group == task_groups().end()) {
      find_task(name);
      add(name);
    } else {
      std::for_each(group->tasks.begin(), group->tasks.end(), add);
    }
  }
  return out;
}

}  // namespace lrqat::eval
