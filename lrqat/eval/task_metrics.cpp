#include "lrqat/eval/task_metrics.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "lrqat/base/error.h"
#include "lrqat/eval/estimate.h"

namespace lrqat::eval {
namespace {

Json stderr_or_null(std::span<const double> values) {
  return values.size() > 1 ? Json(standard_error(values)) : Json();
}

// The first of the largest.
template <typename Value>
std::int64_t best(std::size_t count, const Value& value) {
  std::size_t found = 0;
  for (std::size_t i = 1; i < count; ++i) {
    if (value(i) > value(found)) found = i;
  }
  return static_cast<std::int64_t>(found);
}

struct Accuracy {
  std::vector<double> acc;
  std::vector<double> acc_norm;

  Json metrics() const {
    return {{"acc", mean(acc)},
            {"acc_stderr", stderr_or_null(acc)},
            {"acc_norm", mean(acc_norm)},
            {"acc_norm_stderr", stderr_or_null(acc_norm)},
            {"samples", acc.size()}};
  }
};

void add(Accuracy& accuracy, const TaskPrompt& prompt, const PromptResult& result) {
  const auto likelihood = [&](std::size_t i) { return result.scores[i].log_likelihood; };
  const auto normed = [&](std::size_t i) { return likelihood(i) / static_cast<double>(prompt.lengths[i]); };
  const std::size_t count = result.scores.size();
  accuracy.acc.push_back(best(count, likelihood) == prompt.answer ? 1.0 : 0.0);
  accuracy.acc_norm.push_back(best(count, normed) == prompt.answer ? 1.0 : 0.0);
}

// Of the mean over all samples of several subtasks, from the variance within each.
Json pooled_stderr(const std::map<std::string, Accuracy>& subtasks, std::vector<double> Accuracy::*metric) {
  double sum = 0, samples = 0;
  for (const auto& [name, accuracy] : subtasks) {
    const auto& values = accuracy.*metric;
    const auto n = static_cast<double>(values.size());
    if (values.size() < 2) return {};
    const double error = standard_error(values);
    sum += (n - 1) * error * error * n;
    samples += n;
  }
  return std::sqrt(sum / (samples - static_cast<double>(subtasks.size())) / samples);
}

Json choice_metrics(const TaskDefinition& task, std::span<const TaskPrompt> prompts,
                    std::span<const PromptResult> results) {
  Accuracy all;
  std::map<std::string, Accuracy> subtasks;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    add(all, prompts[i], results[i]);
    if (!task.subtask.empty()) add(subtasks[prompts[i].subtask], prompts[i], results[i]);
  }
  Json json = all.metrics();
  if (subtasks.size() > 1) {
    json["acc_stderr"] = pooled_stderr(subtasks, &Accuracy::acc);
    json["acc_norm_stderr"] = pooled_stderr(subtasks, &Accuracy::acc_norm);
  }
  for (const auto& [name, accuracy] : subtasks) json["subtasks"][name] = accuracy.metrics();
  return json;
}

Json continuation_metrics(std::span<const PromptResult> results) {
  std::vector<double> acc, likelihoods;
  for (const PromptResult& result : results) {
    acc.push_back(result.scores.front().greedy ? 1.0 : 0.0);
    likelihoods.push_back(result.scores.front().log_likelihood);
  }
  const double perplexity = std::exp(-mean(likelihoods));
  Json error;  // of exp(x) at the mean: exp(x) times the error of x
  if (results.size() > 1) error = perplexity * standard_error(likelihoods);
  return {{"acc", mean(acc)},
          {"acc_stderr", stderr_or_null(acc)},
          {"perplexity", perplexity},
          {"perplexity_stderr", error},
          {"samples", results.size()}};
}

Json rolling_metrics(std::span<const TaskPrompt> prompts, std::span<const PromptResult> results) {
  double likelihood = 0;
  std::int64_t words = 0, bytes = 0, tokens = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    likelihood += results[i].scores.front().log_likelihood;
    words += prompts[i].words;
    bytes += prompts[i].bytes;
    tokens += results[i].tokens;
  }
  const auto per = [&](std::int64_t count) { return -likelihood / static_cast<double>(count); };
  return {{"word_perplexity", std::exp(per(words))},
          {"byte_perplexity", std::exp(per(bytes))},
          {"bits_per_byte", per(bytes) / std::log(2.0)},
          {"perplexity", std::exp(per(tokens))},
          {"words", words},
          {"bytes", bytes},
          {"tokens", tokens},
          {"samples", prompts.size()}};
}

Json mean_of_tasks(const TaskGroup& group, const Json& tasks) {
  double acc = 0, acc_norm = 0, variance = 0;
  bool has_error = true;
  for (const std::string& name : group.tasks) {
    const Json& task = tasks.at(name);
    const Json& metrics = task.at("metrics");
    const bool normed = std::find(metrics.begin(), metrics.end(), "acc_norm") != metrics.end();
    acc += task.at("acc").get<double>();
    acc_norm += task.at(normed ? "acc_norm" : "acc").get<double>();
    has_error = has_error && task.at("acc_stderr").is_number();
    if (has_error) variance += std::pow(task.at("acc_stderr").get<double>(), 2);
  }
  const auto count = static_cast<double>(group.tasks.size());
  return {{"acc", acc / count},
          {"acc_stderr", has_error ? Json(std::sqrt(variance) / count) : Json()},
          {"acc_norm", acc_norm / count},
          {"tasks", group.tasks},
          {"description", group.description}};
}

}  // namespace

Json task_metrics(const TaskDefinition& task, std::span<const TaskPrompt> prompts,
                  std::span<const PromptResult> results) {
  LRQAT_CHECK(!prompts.empty() && prompts.size() == results.size());
  Json json;
  switch (task.kind) {
    case TaskKind::kMultipleChoice:
      json = choice_metrics(task, prompts, results);
      break;
    case TaskKind::kLogLikelihood:
      json = continuation_metrics(results);
      break;
    case TaskKind::kRolling:
      json = rolling_metrics(prompts, results);
      break;
  }
  json["version"] = task.version;
  json["metrics"] = task.metrics;
  return json;
}

Json group_metrics(const Json& tasks) {
  Json groups = Json::object();
  for (const TaskGroup& group : task_groups()) {
    const bool complete = std::all_of(group.tasks.begin(), group.tasks.end(),
                                      [&](const std::string& name) { return tasks.contains(name); });
    if (complete) groups[group.name] = mean_of_tasks(group, tasks);
  }
  return groups;
}

}  // namespace lrqat::eval
