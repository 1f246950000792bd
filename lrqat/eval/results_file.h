// What was scored already: a file of JSON lines that grows while an evaluation runs, one prompt a line, found
// again by a digest of everything that the scores depend on. An evaluation that was interrupted goes on where
// it stopped, and the lines are the per-sample log-likelihoods for whoever wants them.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <unordered_map>

#include "lrqat/eval/task_metrics.h"

namespace lrqat::eval {

class ResultsFile {
 public:
  // Reads `path` where there is one; "" keeps nothing. Error naming the line where it is another kind of
  // file; a last line that was cut off is left out.
  explicit ResultsFile(const std::filesystem::path& path);

  // nullptr where the prompt has not been scored.
  const PromptResult* find(const std::string& digest) const;
  void add(const std::string& digest, const std::string& task, std::size_t sample,
           const PromptResult& result);

 private:
  void read(const std::string& text);

  std::filesystem::path path_;
  std::unordered_map<std::string, PromptResult> known_;
  std::ofstream out_;
};

// `model` says which model in which arithmetic, `settings` what else decides the scores.
std::string prompt_digest(const std::string& model, const std::string& settings, const TaskPrompt& prompt);

}  // namespace lrqat::eval
