#include "lrqat/eval/results_file.h"

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/sha256.h"

namespace lrqat::eval {
namespace {

// Whether `line` may be the beginning of a line that add() writes.
bool may_be_cut_short(std::string_view line) {
  constexpr std::string_view kBegin = R"({"digest":")";
  return line.starts_with(kBegin) || kBegin.starts_with(line);
}

}  // namespace

ResultsFile::ResultsFile(const std::filesystem::path& path) : path_(path) {
  if (path.empty()) return;
  std::string text;
  if (std::filesystem::exists(path)) text = read_text_file(path);
  read(text);
  out_.open(path, std::ios::app);
  if (!text.empty() && text.back() != '\n') out_ << '\n';
  if (!out_.flush()) fail("`results` ", path.string(), ": cannot be written");
}

void ResultsFile::read(const std::string& text) {
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end == std::string::npos ? end : end - begin);
    begin = end == std::string::npos ? text.size() : end + 1;
    ++number;
    if (line.empty()) continue;
    const std::string where = concat(path_.string(), ":", number);
    const auto json = try_parse_json(line);
    if (!json) {
      // The line that an interrupted run did not finish; a later run has begun a new line behind it.
      if (may_be_cut_short(line)) continue;
      fail(where, ": not a line of evaluation results; give `results` another file");
    }
    if (!json->is_object()) fail(where, ": not a line of evaluation results; give `results` another file");
    PromptResult result;
    result.tokens = json_get<std::int64_t>(*json, "tokens", where);
    const auto values = json_get<std::vector<double>>(*json, "log_likelihoods", where);
    const auto greedy = json_get<std::vector<bool>>(*json, "greedy", where);
    if (values.size() != greedy.size() || values.empty()) fail(where, ": not a line of evaluation results");
    for (std::size_t i = 0; i < values.size(); ++i) result.scores.push_back({values[i], greedy[i]});
    known_[json_get<std::string>(*json, "digest", where)] = std::move(result);
  }
}

const PromptResult* ResultsFile::find(const std::string& digest) const {
  const auto found = known_.find(digest);
  return found == known_.end() ? nullptr : &found->second;
}

void ResultsFile::add(const std::string& digest, const std::string& task, std::size_t sample,
                      const PromptResult& result) {
  if (!out_.is_open()) return;
  Json json{{"task", task}, {"sample", sample}, {"digest", digest}, {"tokens", result.tokens}};
  for (const Score& score : result.scores) {
    json["log_likelihoods"].push_back(score.log_likelihood);
    json["greedy"].push_back(score.greedy);
  }
  out_ << json_text(json) << '\n';
  if (!out_.flush()) fail("`results` ", path_.string(), ": cannot be written");
}

std::string prompt_digest(const std::string& model, const std::string& settings, const TaskPrompt& prompt) {
  Json parts = Json::array({model, settings});
  for (const PromptPair& pair : prompt.pairs) parts.push_back({pair.context, pair.continuation});
  const std::string text = json_text(parts);
  return sha256_hex(std::as_bytes(std::span(text.data(), text.size()))).substr(0, 32);
}

}  // namespace lrqat::eval
