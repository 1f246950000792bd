#include "lrqat/eval/evaluate.h"

#include <algorithm>
#include <chrono>

#include "lrqat/base/error.h"
#include "lrqat/model/positions.h"

namespace lrqat::eval {
namespace {

struct Prepared {
  std::filesystem::path data;
  std::int64_t num_few_shot = 0;
  std::vector<TaskPrompt> prompts;
};

Prepared prepare(const TaskDefinition& task, const EvaluateOptions& options) {
  Prepared prepared;
  prepared.data = find_task_file(options.task_data, task.name,
                                 options.split.empty() ? task.split : options.split, task.files);
  prepared.num_few_shot =
      task.kind == TaskKind::kRolling ? 0 : options.num_few_shot.value_or(task.num_few_shot);
  std::vector<TaskRow> examples;
  if (prepared.num_few_shot > 0) {
    examples = read_task_rows(
        find_task_file(options.task_data, task.name, task.few_shot_split, task.few_shot_files));
  }
  prepared.prompts =
      make_prompts(task, read_task_rows(prepared.data), examples, prepared.num_few_shot, options.limit);
  return prepared;
}

// The prompts of a task on their way through the model.
class TaskRun {
 public:
  TaskRun(const TaskDefinition& task, const EvaluatedModel& model, const EvaluateOptions& options,
          ResultsFile& results, ProgressReporter& progress)
      : task_(task), model_(model), options_(options), results_(results), progress_(progress) {
    const std::int64_t context = model.decoder.config().max_position_embeddings;
    model::check_positions(model.decoder.config(), "`max-length`", options.max_length);
    max_length_ = options.max_length > 0 ? options.max_length : context;
  }

  Json run() {
    start_ = std::chrono::steady_clock::now();
    Prepared prepared = prepare(task_, options_);
    prompts_ = std::move(prepared.prompts);
    prompt_results_.resize(prompts_.size());
    progress_.start(task_.name, static_cast<std::int64_t>(prompts_.size()));
    take_known_results();
    score_the_rest();
    progress_.finish();
    Json json = task_metrics(task_, prompts_, prompt_results_);
    json["num_fewshot"] = prepared.num_few_shot;
    json["data"] = prepared.data.filename().string();
    json["seconds"] = seconds();
    return json;
  }

 private:
  void take_known_results() {
    const std::string settings = concat(static_cast<int>(options_.bos), "/", max_length_);
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      digests_.push_back(prompt_digest(model_.identity, settings, prompts_[i]));
      if (const PromptResult* known = results_.find(digests_.back())) {
        prompt_results_[i] = *known;
        ++done_;
      } else {
        waiting_.push_back(i);
      }
    }
    if (done_ > 0) progress_.update(done_, "from the results file");
  }

  // A part of the prompts at a time is held as tokens.
  void score_the_rest() {
    constexpr std::size_t kPart = 4096;
    for (std::size_t begin = 0; begin < waiting_.size(); begin += kPart) {
      score_part(std::span(waiting_).subspan(begin, std::min(kPart, waiting_.size() - begin)));
    }
  }

  void score_part(std::span<const std::size_t> part) {
    const PromptEncoder encoder(model_.tokenizer, options_.bos);
    std::vector<std::vector<Request>> documents;
    std::vector<std::size_t> owners;     // the prompt of each document
    std::vector<std::size_t> remaining;  // documents of each prompt of the part
    for (const std::size_t index : part) {
      const std::size_t before = documents.size();
      add_documents(encoder, prompts_[index], documents);
      owners.resize(documents.size(), owners.empty() ? 0 : remaining.size());
      remaining.push_back(documents.size() - before);
    }
    const auto on_document = [&](std::size_t document, std::vector<Score> scores) {
      const std::size_t owner = owners[document];
      take(part[owner], documents[document], std::move(scores));
      if (--remaining[owner] == 0) finish(part[owner]);
    };
    log_likelihoods(model_.decoder, documents, {max_length_, options_.batch_tokens}, on_document);
  }

  // A prompt is one document with a request a pair; a rolling text is a document a window.
  void add_documents(const PromptEncoder& encoder, const TaskPrompt& prompt,
                     std::vector<std::vector<Request>>& documents) const {
    if (task_.kind == TaskKind::kRolling) {
      for (Request& window : encoder.encode_rolling(prompt.pairs.front().continuation, max_length_)) {
        documents.push_back({std::move(window)});
      }
      return;
    }
    std::vector<Request> requests;
    for (const PromptPair& pair : prompt.pairs) requests.push_back(encoder.encode(pair));
    documents.push_back(std::move(requests));
  }

  void take(std::size_t index, const std::vector<Request>& requests, std::vector<Score> scores) {
    for (const Score& score : scores) {
      if (std::isfinite(score.log_likelihood)) continue;
      fail(task_.name, ", sample ", index, ": the model's log-likelihood is ", score.log_likelihood,
           ", not a finite number: it computes values that are none, as after training that diverged or from "
           "a "
           "damaged file");
    }
    PromptResult& result = prompt_results_[index];
    for (const Request& request : requests) {
      result.tokens += static_cast<std::int64_t>(request.continuation.size());
      computed_tokens_ += static_cast<std::int64_t>(request.context.size() + request.continuation.size());
    }
    if (task_.kind != TaskKind::kRolling || result.scores.empty()) {
      result.scores = std::move(scores);
    } else {
      result.scores.front().log_likelihood += scores.front().log_likelihood;
      result.scores.front().greedy = result.scores.front().greedy && scores.front().greedy;
    }
  }

  void finish(std::size_t index) {
    results_.add(digests_[index], task_.name, index, prompt_results_[index]);
    ++done_;
    const auto rate = static_cast<std::int64_t>(static_cast<double>(computed_tokens_) / seconds());
    progress_.update(done_, concat(rate, " tokens/s"));
  }

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  const TaskDefinition& task_;
  const EvaluatedModel& model_;
  const EvaluateOptions& options_;
  ResultsFile& results_;
  ProgressReporter& progress_;
  std::int64_t max_length_ = 0;
  std::vector<TaskPrompt> prompts_;
  std::vector<PromptResult> prompt_results_;
  std::vector<std::string> digests_;
  std::vector<std::size_t> waiting_;
  std::int64_t done_ = 0;
  std::int64_t computed_tokens_ = 0;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

void check_task(const TaskDefinition& task, const EvaluateOptions& options) { prepare(task, options); }

Json evaluate_task(const TaskDefinition& task, const EvaluatedModel& model, const EvaluateOptions& options,
                   ResultsFile& results, ProgressReporter& progress) {
  return TaskRun(task, model, options, results, progress).run();
}

}  // namespace lrqat::eval
