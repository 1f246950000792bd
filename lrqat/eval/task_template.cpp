#include "lrqat/eval/task_template.h"

#include <algorithm>
#include <charconv>

#include "lrqat/base/user_text.h"
#include "lrqat/eval/task_filters.h"

namespace lrqat::eval {

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  return json_text(value);
}

Template::Template(std::string_view text, const std::string& where) {
  std::string literal;
  const auto end_literal = [&] {
    if (!literal.empty()) parts_.push_back({literal});
    literal.clear();
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool doubled = i + 1 < text.size() && text[i + 1] == c;
    if (c != '{' && c != '}') {
      literal += c;
    } else if (doubled) {
      literal += text[i++];
    } else if (c == '}') {
      fail(where, ": a } without its {; a brace of the text is written twice");
    } else {
      const std::size_t close = text.find('}', i);
      if (close == std::string_view::npos) fail(where, ": { is not closed in ", quote(text));
      end_literal();
      parts_.push_back(parse_expression(text.substr(i + 1, close - i - 1), where));
      i = close;
    }
  }
  end_literal();
}

Template::Part Template::parse_expression(std::string_view text, const std::string& where) {
  Part part{std::string(text), true};
  std::size_t end = std::min(text.find('|'), text.size());
  part.steps = parse_path(text.substr(0, end), where);
  while (end < text.size()) {
    const std::size_t begin = end + 1;
    end = std::min(text.find('|', begin), text.size());
    part.filters.push_back(find_task_filter(text.substr(begin, end - begin), where));
  }
  return part;
}

std::vector<Template::Step> Template::parse_path(std::string_view path, const std::string& where) {
  std::vector<Step> steps;
  while (!path.empty()) {
    if (path.front() == '[') {
      const std::size_t close = path.find(']');
      if (close == std::string_view::npos) fail(where, ": [ is not closed in \"", path, "\"");
      const std::string_view number = path.substr(1, close - 1);
      Step step{number.empty() ? Step::Kind::kEach : Step::Kind::kIndex};
      const auto [rest, error] = std::from_chars(number.data(), number.data() + number.size(), step.index);
      if (!number.empty() && (error != std::errc() || rest != number.data() + number.size())) {
        fail(where, ": \"", number, "\" is not an index");
      }
      steps.push_back(step);
      path.remove_prefix(close + 1);
    } else {
      const std::size_t end = std::min(path.find_first_of(".["), path.size());
      if (end == 0) fail(where, ": a path with an empty name");
      steps.push_back({Step::Kind::kKey, std::string(path.substr(0, end))});
      path.remove_prefix(end);
    }
    if (!path.empty() && path.front() == '.') path.remove_prefix(1);
  }
  if (steps.empty()) fail(where, ": {} without a name");
  return steps;
}

Json Template::look_up(const Json& value, const Step* step, const Step* end) {
  if (step == end) return value;
  if (step->kind == Step::Kind::kKey) {
    const auto found = value.is_object() ? value.find(step->key) : value.end();
    return value.is_object() && found != value.end() ? look_up(*found, step + 1, end) : Json();
  }
  if (!value.is_array()) return {};
  if (step->kind == Step::Kind::kIndex) {
    return step->index < value.size() ? look_up(value[step->index], step + 1, end) : Json();
  }
  Json all = Json::array();
  for (const Json& element : value) {
    all.push_back(look_up(element, step + 1, end));
    if (all.back().is_null()) return {};
  }
  return all;
}

Json Template::filtered(const Part& part, const Json& value) {
  if (part.filters.empty() || value.is_null()) return value;
  if (value.is_array()) {
    Json all = Json::array();
    for (const Json& element : value) all.push_back(filtered(part, element));
    return all;
  }
  std::string text = text_of(value);
  for (const Filter filter : part.filters) text = filter(text);
  return text;
}

Json Template::evaluate(const Json& row, std::string* missing) const {
  std::string text;
  for (const Part& part : parts_) {
    if (!part.expression) {
      text += part.text;
      continue;
    }
    Json value = filtered(part, look_up(row, part.steps.data(), part.steps.data() + part.steps.size()));
    const bool no_text = value.is_null() || (value.is_structured() && parts_.size() > 1);
    if (no_text && missing != nullptr) *missing = part.text;
    if (no_text) return {};
    if (parts_.size() == 1) return value;
    text += text_of(value);
  }
  return text;
}

std::string Template::render(const Json& row, const std::string& where) const {
  std::string missing = parts_.empty() ? "" : parts_.front().text;
  Json value;
  try {
    value = evaluate(row, &missing);
  } catch (const Error& error) {  // a filter knows its text, not the row
    fail(where, ": ", error.what());
  }
  if (value.is_null() || value.is_structured()) fail(where, ": no text \"", missing, "\" in this row");
  check_json_value(value, "the text", where);
  return text_of(value);
}

}  // namespace lrqat::eval
