#include "lrqat/corpus/json_rows.h"

#include <optional>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/corpus/json_scanner.h"
#include "lrqat/corpus/lines.h"

namespace lrqat::corpus {
namespace {

// The place of the first character from `offset` that is no white space, behind what is consumed; nothing:
// the end.
std::optional<std::size_t> skip_spaces(TextStream& text, std::size_t offset) {
  while (true) {
    const std::size_t at = text.buffered().find_first_not_of(kSpaces, offset);
    if (at != std::string_view::npos) return at;
    offset = text.buffered().size();
    if (!text.fill()) return std::nullopt;
  }
}

bool is_object(std::string_view json) {
  const std::optional<Json> value = try_parse_json(trimmed(json));
  return value && value->is_object() && !value->empty();
}

RowForm form_of_array(TextStream& text, std::size_t begin, bool is_json) {
  const auto first = skip_spaces(text, begin + 1);
  if (first && text.buffered()[*first] == '{') return RowForm::array;
  if (!is_json) return RowForm::none;
  const auto line = text.peek_line(begin, kLongestRow);
  return try_parse_json(trimmed(line->text)) ? RowForm::lines
                                             : RowForm::array;  // of something else, which is then said
}

RowForm form_of_object(TextStream& text, std::size_t begin, bool is_json) {
  const Line line = *text.peek_line(begin, kLongestRow);
  if (is_object(line.text)) return RowForm::lines;
  const bool opens = is_blank(line.text.substr(1));
  const std::size_t line_size = line.text.size();
  const auto size = value_size(text, begin, kLongestRow);
  // What is broken is an error of the form that it seems to have.
  if (is_json) return (size ? *size > line_size : opens) ? RowForm::values : RowForm::lines;
  if (!size || !is_object(text.buffered().substr(begin, *size))) return RowForm::none;
  const auto next = skip_spaces(text, begin + *size);
  return !next || text.buffered()[*next] == '{' ? RowForm::values : RowForm::none;
}

// The rows of a text, parsed one by one.
class Rows {
 public:
  Rows(TextStream& text, const RowSink& sink, const RowTest& is_row)
      : text_(text), sink_(sink), is_row_(is_row) {}

  void read_lines() {
    while (const auto line = text_.next_line(kLongestRow)) {
      if (!is_blank(line->text)) add(line->text, line->number);
    }
  }

  void read_values() {
    JsonScanner scanner(text_, "the last JSON object");
    while (!scanner.at_end()) {
      if (scanner.peek() != '{') scanner.fail_here("expected an object");
      const std::int64_t line = scanner.line();
      add(scanner.value(), line);
    }
  }

  void read_array(JsonScanner& scanner) {
    scanner.take('[');
    for (bool first = true; scanner.peek() != ']'; first = false) {
      if (!first) scanner.take(',');
      scanner.peek();  // at the row's own line
      const std::int64_t line = scanner.line();
      add(scanner.value(), line);
    }
    scanner.take(']');
  }

 private:
  void add(std::string_view json, std::int64_t line) {
    RowPlace place{concat(text_.name(), ":", line), line};
    if (number_++ > 0 && line == last_line_) place.where += concat(": row ", number_);
    last_line_ = line;
    const Json row = parse_json(json, place.where);
    if (!row.is_object()) fail(place.where, ": expected a JSON object, one a line, found ", row.type_name());
    const auto key = number_ == 1 ? key_of_rows(row) : std::nullopt;
    if (!key) return sink_(row, place);
    const std::string copy(json);
    if (skip_spaces(text_, 0)) return sink_(row, place);
    read_within(copy, *key, line);
  }

  // An object that is all of a file and holds the rows: it is read anew, for their lines.
  void read_within(std::string_view object, const std::string& key, std::int64_t line) {
    TextStream text(object, text_.name(), line);
    JsonScanner scanner(text, concat("the JSON array ", quote(key)));
    Rows rows(text, sink_, {});
    for (char next = '{'; next != '}'; next = scanner.peek()) {
      scanner.take(next);
      const bool is_here = parse_json(scanner.value(), text_.name()) == key;
      scanner.take(':');
      if (is_here)
        rows.read_array(scanner);
      else
        scanner.value();
    }
  }

  // The one key of an object that is no row itself under which there is a list of rows.
  std::optional<std::string> key_of_rows(const Json& object) const {
    if (!is_row_ || is_row_(object)) return std::nullopt;
    std::vector<std::string> keys;
    for (const auto& [key, value] : object.items()) {
      if (value.is_array() && !value.empty() && is_row_(value.front())) keys.push_back(key);
    }
    return keys.size() == 1 ? std::optional(keys.front()) : std::nullopt;
  }

  TextStream& text_;
  const RowSink& sink_;
  const RowTest is_row_;
  std::int64_t number_ = 0;  // rows so far
  std::int64_t last_line_ = 0;
};

}  // namespace

RowForm row_form(TextStream& text, bool is_json) {
  const auto begin = skip_spaces(text, 0);
  if (!begin) return is_json ? RowForm::lines : RowForm::none;
  const char first = text.buffered()[*begin];
  if (first == '[') return form_of_array(text, *begin, is_json);
  if (first == '{') return form_of_object(text, *begin, is_json);
  return is_json ? RowForm::lines : RowForm::none;
}

void read_json_rows(TextStream& text, RowForm form, const RowSink& sink, const RowTest& is_row) {
  Rows rows(text, sink, is_row);
  if (form == RowForm::lines) rows.read_lines();
  if (form == RowForm::values) rows.read_values();
  if (form != RowForm::array) return;
  JsonScanner scanner(text, "the JSON array");
  rows.read_array(scanner);
  if (!scanner.at_end()) scanner.fail_here("something follows the array");
}

}  // namespace lrqat::corpus
