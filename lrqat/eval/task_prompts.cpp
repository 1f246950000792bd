#include "lrqat/eval/task_prompts.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "lrqat/base/error.h"
#include "lrqat/eval/python_random.h"
#include "lrqat/eval/task_filters.h"

namespace lrqat::eval {
namespace {

constexpr std::uint32_t kFewShotSeed = 1234;  // lm-evaluation-harness' default

// Templates that are one of a list each, or one that gives the list.
std::vector<std::string> render_list(const std::vector<Template>& templates, const Json& row,
                                     const std::string& where) {
  std::vector<std::string> out;
  if (templates.size() == 1) {
    std::string missing;
    const Json value = templates.front().evaluate(row, &missing);
    if (value.is_null()) fail(where, ": no \"", missing, "\" in this row");
    if (value.is_array()) {
      for (const Json& element : value) {
        if (element.is_structured()) fail(where, ": ", json_excerpt(element), " is no text");
        out.push_back(text_of(element));
      }
      return out;
    }
  }
  for (const Template& one : templates) out.push_back(one.render(row, where));
  return out;
}

std::optional<std::int64_t> as_number(const std::string& text) {
  std::int64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && rest == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

// One row with its fields, ready to be written as a prompt.
class Sample {
 public:
  Sample(const TaskDefinition& task, const TaskRow& row)
      : task_(task), row_(task.with_fields(row.row)), where_(row.where) {
    if (task.kind != TaskKind::kMultipleChoice) return;
    choices_ = render_list(several_prompts() ? task.prompt : task.choices, row_, where_);
    if (choices_.size() < 2) fail(where_, ": ", choices_.size(), " choices, expected 2 or more");
    for (const std::string& choice : choices_) {
      if (choice.empty()) fail(where_, ": an empty choice");
    }
    answer_ = find_answer();
  }

  std::int64_t answer() const { return answer_; }
  const std::vector<std::string>& choices() const { return choices_; }
  std::string subtask() const {
    return task_.subtask.empty() ? "" : Template("{" + task_.subtask + "}", where_).render(row_, where_);
  }
  std::string description() const {
    return task_.description.empty() ? "" : task_.description.front().render(row_, where_);
  }
  std::string document() const { return task_.prompt.empty() ? continuation() : prompt(); }
  std::string continuation() const { return task_.continuation.front().render(row_, where_); }

  std::vector<PromptPair> pairs(const std::string& before) const {
    if (task_.kind == TaskKind::kRolling) return {{"", continuation()}};
    if (task_.kind == TaskKind::kLogLikelihood) return {{before + prompt(), continuation()}};
    std::vector<PromptPair> pairs;
    for (const std::string& choice : choices_) {
      pairs.push_back(several_prompts() ? PromptPair{before + choice, task_.delimiter + continuation()}
                                        : PromptPair{before + prompt(), task_.delimiter + choice});
    }
    return pairs;
  }

  // With its answer, as one of the examples.
  std::string as_example() const {
    const bool several = several_prompts();
    const std::string& chosen =
        choices_.empty() ? std::string() : choices_[static_cast<std::size_t>(answer_)];
    const std::string question = several ? chosen : prompt();
    const std::string reply = several || choices_.empty() ? continuation() : chosen;
    return question + task_.delimiter + reply + task_.example_delimiter;
  }

 private:
  bool several_prompts() const { return task_.choices.empty(); }
  std::string prompt() const { return task_.prompt.front().render(row_, where_); }

  std::int64_t find_answer() const {
    std::string missing;
    const Json value = task_.answer.front().evaluate(row_, &missing);
    if (value.is_null()) fail(where_, ": no \"", missing, "\" in this row");
    const std::int64_t index = index_of(value);
    if (index < 0 || index >= static_cast<std::int64_t>(choices_.size())) {
      fail(where_, ": the answer ", json_excerpt(value), " is none of the ", choices_.size(), " choices");
    }
    return index;
  }

  std::int64_t index_of(const Json& value) const {
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_number_integer()) return value.get<std::int64_t>();
    const std::string text = text_of(value);
    if (task_.among.empty()) return as_number(text).value_or(-1);
    const std::vector<std::string> labels = render_list(task_.among, row_, where_);
    const auto found = std::find(labels.begin(), labels.end(), text);
    if (found != labels.end()) return found - labels.begin();
    return -1;
  }

  const TaskDefinition& task_;
  Json row_;
  std::string where_;
  std::vector<std::string> choices_;
  std::int64_t answer_ = 0;
};

// The examples before each row, drawn in the order of the rows.
class FewShot {
 public:
  FewShot(const TaskDefinition& task, const std::vector<TaskRow>& examples, std::int64_t count)
      : task_(task), examples_(examples), count_(static_cast<std::size_t>(count)) {
    if (count_ == 0 || task.subtask.empty()) return;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      of_subtask_[Sample(task, examples[i]).subtask()].push_back(i);
    }
  }

  std::string text(const TaskRow& row, const std::string& subtask) {
    std::string out;
    if (count_ == 0) return out;
    std::vector<std::size_t> chosen;
    if (task_.sampler == FewShotSampler::kFirst) {
      chosen = first(subtask);
    } else {
      chosen = drawn(row);
    }
    for (const std::size_t index : chosen) out += Sample(task_, examples_[index]).as_example();
    return out;
  }

 private:
  std::vector<std::size_t> first(const std::string& subtask) const {
    std::vector<std::size_t> all(examples_.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    if (!task_.subtask.empty()) {
      const auto found = of_subtask_.find(subtask);
      all = found == of_subtask_.end() ? std::vector<std::size_t>() : found->second;
    }
    require(all.size(), subtask);
    all.resize(count_);
    return all;
  }

  std::vector<std::size_t> drawn(const TaskRow& row) {
    const std::size_t count = count_ + (task_.samples_extra ? 1 : 0);
    if (examples_.size() < count) require(0, "");
    std::vector<std::size_t> chosen = random_.sample(examples_.size(), count);
    if (task_.samples_extra)
      std::erase_if(chosen, [&](std::size_t i) { return examples_[i].row == row.row; });
    chosen.resize(std::min(chosen.size(), count_));
    return chosen;
  }

  void require(std::size_t available, const std::string& subtask) const {
    if (available >= count_) return;
    fail("task ", task_.name, ": `num-fewshot` ", count_, " needs more examples than the ",
         subtask.empty() ? examples_.size() : available, " there are",
         subtask.empty() ? "" : concat(" of ", subtask));
  }

  const TaskDefinition& task_;
  const std::vector<TaskRow>& examples_;
  std::size_t count_;
  std::map<std::string, std::vector<std::size_t>> of_subtask_;
  PythonRandom random_{kFewShotSeed};
};

}  // namespace

std::vector<TaskPrompt> make_prompts(const TaskDefinition& task, const std::vector<TaskRow>& rows,
                                     const std::vector<TaskRow>& examples, std::int64_t num_few_shot,
                                     std::int64_t limit) {
  FewShot few_shot(task, examples, num_few_shot);
  std::map<std::string, std::int64_t> seen;
  std::vector<TaskPrompt> prompts;
  for (const TaskRow& row : rows) {
    if (limit > 0 && task.subtask.empty() && static_cast<std::int64_t>(prompts.size()) == limit) break;
    const Sample sample(task, row);
    TaskPrompt prompt;
    prompt.subtask = sample.subtask();
    if (limit > 0 && ++seen[prompt.subtask] > limit) continue;
    prompt.pairs = sample.pairs(sample.description() + few_shot.text(row, prompt.subtask));
    prompt.answer = sample.answer();
    for (const std::string& choice : sample.choices()) prompt.lengths.push_back(python_length(choice));
    if (task.kind == TaskKind::kRolling) {
      const std::string document = sample.document();
      prompt.words = python_word_count(document);
      prompt.bytes = static_cast<std::int64_t>(document.size());
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

PromptEncoder::PromptEncoder(const text::Tokenizer& tokenizer, Bos bos) : tokenizer_(tokenizer), bos_(bos) {
  const auto id = tokenizer.bos_token_id();
  const auto empty = tokenizer.encode("", true);
  const bool own = id && !empty.empty() && empty.front() == *id;
  if (bos == Bos::kAlways && !id) fail("`bos` yes: this model's tokenizer has no BOS token");
  adds_bos_ = bos == Bos::kAlways || (bos == Bos::kTokenizer && own);
  if (id) bos_text_ = tokenizer.id_to_piece(*id).value_or("");
}

std::vector<std::int32_t> PromptEncoder::tokens(const std::string& text) const {
  const bool has_bos = !bos_text_.empty() && text.starts_with(bos_text_);
  std::vector<std::int32_t> ids = tokenizer_.encode(text, bos_ != Bos::kNever && !has_bos);
  if (bos_ == Bos::kAlways && !has_bos && (ids.empty() || ids.front() != *tokenizer_.bos_token_id())) {
    ids.insert(ids.begin(), *tokenizer_.bos_token_id());
  }
  return ids;
}

std::int32_t PromptEncoder::prefix_token() const {
  if (const auto bos = tokenizer_.bos_token_id()) return *bos;
  if (const auto eos = tokenizer_.eos_token_id()) return *eos;
  fail("the tokenizer has neither a BOS nor an end-of-text token for an empty context to begin with");
}

Request PromptEncoder::encode(const PromptPair& pair) const {
  Request request;
  const std::string context(python_rstrip(pair.context));
  const std::string whole = pair.context + pair.continuation;
  if (context.empty()) {
    request.context = {prefix_token()};
    request.continuation = tokenizer_.encode(whole, false);
    if (request.continuation.size() > 1 && request.continuation.front() == prefix_token()) {
      request.continuation.erase(request.continuation.begin());
    }
  } else {
    request.context = tokens(context);
    request.continuation = tokens(whole);
    const auto length = std::min(request.context.size(), request.continuation.size());
    request.continuation.erase(request.continuation.begin(),
                               request.continuation.begin() + static_cast<std::ptrdiff_t>(length));
  }
  if (request.continuation.empty()) {
    fail("the continuation \"", pair.continuation, "\" adds no token to its context \"",
         context.substr(context.size() - std::min<std::size_t>(context.size(), 40)), "\"");
  }
  return request;
}

std::vector<Request> PromptEncoder::encode_rolling(const std::string& text, std::int64_t max_length) const {
  std::vector<std::int32_t> ids = tokens(text);
  ids.insert(ids.begin(), prefix_token());
  const auto count = static_cast<std::int64_t>(ids.size());
  std::vector<Request> windows;
  for (std::int64_t begin = 1; begin < count; begin += max_length) {
    const std::int64_t end = std::min(begin + max_length, count);
    // A shorter last window sees what comes before it, as far as the length allows.
    const std::int64_t first = windows.empty() ? 0 : end - max_length - 1;
    windows.push_back({{ids.begin() + first, ids.begin() + begin}, {ids.begin() + begin, ids.begin() + end}});
  }
  return windows;
}

}  // namespace lrqat::eval
