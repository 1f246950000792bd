// Reading text files into documents; every error names the file and the line.
#include <algorithm>
#include <optional>
#include <string_view>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/data/dataset.h"
#include "lrqat/text/unicode.h"

namespace lrqat::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSpaces = " \t\r\n\v\f";
constexpr std::string_view kSeparator = "<|endoftext|>";

bool is_blank(std::string_view text) { return text.find_first_not_of(kSpaces) == std::string_view::npos; }

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

// Lines without their '\n', and where the next one begins.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}

  std::optional<std::string_view> next() {
    if (position_ >= text_.size()) return std::nullopt;
    const std::size_t end = std::min(text_.find('\n', position_), text_.size());
    const std::string_view line = text_.substr(position_, end - position_);
    position_ = std::min(end + 1, text_.size());
    ++number_;
    return line;
  }

  std::size_t position() const { return position_; }  // of the next line
  std::int64_t number() const { return number_; }     // of the last one, from 1

 private:
  std::string_view text_;
  std::size_t position_ = 0;
  std::int64_t number_ = 0;
};

void require_utf8(std::string_view text, const fs::path& path) {
  if (text::is_valid_utf8(text)) return;
  Lines lines(text);
  while (const auto line = lines.next()) {
    if (!text::is_valid_utf8(*line)) {
      fail(path.string(), ":", lines.number(), ": not UTF-8 text; convert the file (for example with iconv)");
    }
  }
  fail(path.string(), ": not UTF-8 text");
}

std::string read_utf8(const fs::path& path) {
  std::string text = read_text_file(path);
  require_utf8(text, path);
  return text;
}

Document document_of_line(std::string_view line, const std::string& where) {
  const Json object = parse_json(line, where);
  if (!object.is_object()) {
    fail(where, ": expected a JSON object with a \"text\", found ", object.type_name());
  }
  if (object.contains("text") || !object.contains("instruction"))
    return {json_get<std::string>(object, "text", where)};
  const auto input = object.contains("input") ? json_get<std::string>(object, "input", where) : "";
  const std::string prompt = alpaca_prompt(json_get<std::string>(object, "instruction", where), input);
  const auto output = json_get<std::string>(object, "output", where);
  if (is_blank(output)) return {};
  return {prompt + output, prompt.size()};
}

std::vector<Document> json_lines(std::string_view text, const fs::path& path) {
  std::vector<Document> documents;
  Lines lines(text);
  while (const auto line = lines.next()) {
    if (is_blank(*line)) continue;
    Document document = document_of_line(*line, concat(path.string(), ":", lines.number()));
    if (!is_blank(document.text)) documents.push_back(std::move(document));
  }
  return documents;
}

std::vector<Document> plain_text(std::string_view text) {
  std::vector<Document> documents;
  const auto add = [&](std::string_view document) {
    if (!is_blank(document)) documents.push_back({std::string(document)});
  };
  std::size_t begin = 0;  // of the document
  std::size_t line_begin = 0;
  Lines lines(text);
  while (const auto line = lines.next()) {
    if (trimmed(*line) == kSeparator) {
      add(text.substr(begin, line_begin - begin));
      begin = lines.position();
    }
    line_begin = lines.position();
  }
  add(text.substr(begin));
  return documents;
}

bool is_json_lines(const fs::path& path) { return path.extension() == ".jsonl"; }

}  // namespace

std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
  const std::string task = "### Instruction:\n" + instruction + "\n\n";
  if (input.empty()) {
    return "Below is an instruction that describes a task. "
           "Write a response that appropriately completes the request.\n\n" +
           task + "### Response:";
  }
  return "Below is an instruction that describes a task, paired with an input that provides further context. "
         "Write a response that appropriately completes the request.\n\n" +
         task + "### Input:\n" + input + "\n\n### Response:";
}

std::vector<Document> read_training_documents(const fs::path& path) {
  const std::string text = read_utf8(path);
  std::vector<Document> documents = is_json_lines(path) ? json_lines(text, path) : plain_text(text);
  if (documents.empty()) fail(path.string(), ": no text in this file");
  return documents;
}

std::vector<std::string> read_documents(const fs::path& path) {
  std::vector<std::string> texts;
  for (Document& document : read_training_documents(path)) texts.push_back(std::move(document.text));
  return texts;
}

std::string read_text(const fs::path& path) {
  if (!is_json_lines(path)) {
    std::string text = read_utf8(path);
    if (is_blank(text)) fail(path.string(), ": no text in this file");
    return text;
  }
  std::string joined;
  for (const std::string& document : read_documents(path)) {
    if (!joined.empty()) joined += "\n\n";
    joined += document;
  }
  return joined;
}

}  // namespace lrqat::data
