#include "lrqat/corpus/document_rows.h"

#include <algorithm>
#include <initializer_list>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/corpus/file_kind.h"
#include "lrqat/corpus/lines.h"

namespace lrqat::corpus {
namespace {

namespace fs = std::filesystem;

std::string text_of(const Json& row, const char* key, const std::string& where) {
  return json_get_or<std::string>(row, key, "", where);
}

Document plain_document(const Json& row, const std::string& where) { return {text_of(row, "text", where)}; }

// Seen: the prompt; learned: the answer. A row without an answer teaches nothing.
Document answered(const std::string& prompt, const std::string& answer) {
  if (is_blank(answer)) return {};
  return {prompt + answer, prompt.size()};
}

Document alpaca_document(const Json& row, const std::string& where) {
  return answered(alpaca_prompt(text_of(row, "instruction", where), text_of(row, "input", where)),
                  text_of(row, "output", where));
}

Document dolly_document(const Json& row, const std::string& where) {
  return answered(alpaca_prompt(text_of(row, "instruction", where), text_of(row, "context", where)),
                  text_of(row, "response", where));
}

Document completion_document(const Json& row, const std::string& where) {
  return answered(text_of(row, "prompt", where), text_of(row, "completion", where));
}

struct Layout {
  const char* form;  // as messages name it
  std::vector<const char*> keys;
  Document (*document)(const Json& row, const std::string& where);
};

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> table = {
      {R"({"text"})", {"text"}, plain_document},
      {R"({"instruction", "input", "output"} (Alpaca; "input" may be missing))",
       {"instruction", "output"},
       alpaca_document},
      {R"({"instruction", "context", "response"} (Dolly; "context" may be missing))",
       {"instruction", "response"},
       dolly_document},
      {R"({"prompt", "completion"} (texts))", {"prompt", "completion"}, completion_document},
  };
  return table;
}

std::string known_layouts() {
  std::string out;
  for (const Layout& layout : layouts()) out.append(out.empty() ? "" : ", ").append(layout.form);
  return out;
}

std::string keys_of(const Json& row) {
  constexpr std::size_t kMost = 12, kLongest = 40;
  std::string out;
  std::size_t count = 0;
  for (const auto& [key, value] : row.items()) {
    if (count++ == kMost) return out + ", …";
    out.append(out.empty() ? "\"" : ", \"").append(key.substr(0, kLongest)).append("\"");
  }
  return out.empty() ? "none" : out;
}

// Turns of a conversation, which only the model's chat template makes a text of.
bool is_chat(const Json& row) {
  for (const char* key : {"messages", "conversations", "conversation", "prompt", "completion", "chosen"}) {
    const auto it = row.find(key);
    if (it != row.end() && it->is_array()) return true;
  }
  return false;
}

[[noreturn]] void fail_layout(const Json& row, const std::string& where) {
  if (is_chat(row)) {
    fail(where, ": a conversation (keys ", keys_of(row), "), which is not read yet; read are ",
         known_layouts(),
         ". Write each conversation as one \"text\" first, with transformers: "
         "tokenizer.apply_chat_template(messages, tokenize=False)");
  }
  fail(where, ": found the keys ", keys_of(row), "; rows that are read: ", known_layouts());
}

const Layout& layout_of(const Json& row, const std::string& where) {
  const auto fits = [&](const Layout& layout, bool null_counts) {
    return std::all_of(layout.keys.begin(), layout.keys.end(), [&](const char* key) {
      const auto it = row.find(key);
      return it != row.end() && (null_counts || !it->is_null());
    });
  };
  if (is_chat(row)) fail_layout(row, where);
  for (const bool null_counts : {false, true}) {  // columns of other layouts may be there, filled with null
    for (const Layout& layout : layouts()) {
      if (fits(layout, null_counts)) return layout;
    }
  }
  fail_layout(row, where);
}

// Collects documents row by row.
class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path.string()) {}

  void add(std::string_view json, std::int64_t line) {
    const std::string where = concat(path_, ":", line);
    const Json row = parse_json(json, where);
    if (!row.is_object()) {
      fail(where, ": expected a JSON object, one a line, found ", row.type_name(),
           "; rows that are read: ", known_layouts());
    }
    const Layout& layout = layout_of(row, where);
    if (layout_ == nullptr) {
      layout_ = &layout;
      first_line_ = line;
    } else if (layout_ != &layout) {
      fail(path_, ": line ", first_line_, " is ", layout_->form, ", line ", line, " is ", layout.form,
           ": one file must have one layout; make a file of each and give both");
    }
    Document document = layout.document(row, where);
    if (!is_blank(document.text)) documents_.push_back(std::move(document));
  }

  std::vector<Document> take() { return std::move(documents_); }

 private:
  std::string path_;
  const Layout* layout_ = nullptr;
  std::int64_t first_line_ = 0;
  std::vector<Document> documents_;
};

// The members of an array one by one, so that a large one is never in memory as JSON.
class ArrayMembers {
 public:
  // `text` begins with '[', perhaps behind white space.
  ArrayMembers(std::string_view text, const fs::path& path) : text_(text), path_(path.string()) {
    skip_spaces();
    step();
  }

  // The next member; nothing behind the last.
  std::optional<std::string_view> next() {
    skip_spaces();
    if (peek() == ']') return finish();
    if (!first_) {
      if (peek() != ',') fail_here("expected a comma or the array's end");
      step();
      skip_spaces();
    }
    first_ = false;
    line_of_member_ = line_;
    const std::size_t begin = position_;
    skip_value();
    return text_.substr(begin, position_ - begin);
  }
  std::int64_t line() const { return line_of_member_; }

 private:
  char peek() const {
    if (position_ >= text_.size()) {
      fail(path_,
           ": the JSON array that begins the file has no end (a cut-off file?); its last row begins on line ",
           line_of_member_);
    }
    return text_[position_];
  }
  void step() {
    if (text_[position_++] == '\n') ++line_;
  }
  void skip_spaces() {
    while (position_ < text_.size() && kSpaces.find(text_[position_]) != std::string_view::npos) step();
  }
  [[noreturn]] void fail_here(const char* what) const { fail(path_, ":", line_, ": not valid JSON: ", what); }

  std::optional<std::string_view> finish() {
    step();
    skip_spaces();
    if (position_ < text_.size()) fail_here("something follows the array");
    return std::nullopt;
  }

  void skip_string() {
    step();
    while (peek() != '"') {
      if (peek() == '\\') step();
      peek();
      step();
    }
    step();
  }

  // To the comma or bracket behind it; what is between is checked when it is parsed.
  void skip_value() {
    for (int depth = 0;;) {
      const char c = peek();
      if (c == '"') {
        skip_string();
        continue;
      }
      const bool closes = c == ']' || c == '}';
      if (depth == 0 && (closes || c == ',')) return;
      if (c == '[' || c == '{') ++depth;
      if (closes) --depth;
      step();
    }
  }

  std::string_view text_;
  std::string path_;
  std::size_t position_ = 0;
  std::int64_t line_ = 1;
  std::int64_t line_of_member_ = 1;
  bool first_ = true;
};

bool is_json_name(const fs::path& path) {
  const std::string extension = lower_extension(path);
  return extension == ".json" || extension == ".jsonl" || extension == ".ndjson";
}

std::string_view first_line_of(std::string_view text) {
  Lines lines(text);
  while (const auto line = lines.next()) {
    if (!is_blank(*line)) return trimmed(*line);
  }
  return {};
}

bool begins_array_of_objects(std::string_view text) {
  const std::string_view rest = trimmed(text);
  if (!rest.starts_with('[')) return false;
  const std::size_t first = rest.find_first_not_of(kSpaces, 1);
  return first != std::string_view::npos && rest[first] == '{';
}

// An object of several lines is none of the forms that are read; most hold the rows under some key.
[[noreturn]] void fail_one_object(std::string_view text, const fs::path& path) {
  const Json object = parse_json(text, path.string());
  std::string advice;
  for (const auto& [key, value] : object.items()) {
    if (key.size() > 40 || !value.is_array() || value.empty() || !value.front().is_object()) continue;
    advice = concat(". Its rows seem to be under \"", key, "\": jq -c '.\"", key, "\"[]' FILE > FILE.jsonl");
    break;
  }
  fail(path.string(), ": one JSON object over several lines, with the keys ", keys_of(object),
       "; expected an object a line, or an array of objects", advice);
}

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

bool holds_rows(std::string_view text, const fs::path& path) {
  if (is_json_name(path) || begins_array_of_objects(text)) return true;
  const std::string_view line = first_line_of(text);
  if (!line.starts_with('{') || !line.ends_with('}')) return false;
  const std::optional<Json> json = try_parse_json(line);
  return json && json->is_object() && !json->empty();
}

std::vector<Document> read_rows(std::string_view text, const fs::path& path) {
  Reader reader(path);
  if (begins_array_of_objects(text)) {
    ArrayMembers members(text, path);
    while (const auto member = members.next()) reader.add(*member, members.line());
    return reader.take();
  }
  if (first_line_of(text) == "{") fail_one_object(text, path);
  Lines lines(text);
  while (const auto line = lines.next()) {
    if (!is_blank(*line)) reader.add(*line, lines.number());
  }
  return reader.take();
}

}  // namespace lrqat::corpus
