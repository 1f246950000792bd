// The templates of task files: text with {expressions}. An expression is a path into the row
// ("question", "choices.text", "choices[0]", "question.choices[].label": that key of every element), then
// filters ("{sentence|before_blank}"); a filter on a list works on every element. {{ and }} are braces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::eval {

class Template {
 public:
  // Error with `where` (a task file and key) where the template is broken or names an unknown filter.
  Template(std::string_view text, const std::string& where);

  // The value where the template is one expression and nothing else, the text otherwise. Null where a path
  // is not in the row, or leads to a list or an object that should stand in a text; `missing` then names it.
  Json evaluate(const Json& row, std::string* missing = nullptr) const;
  // As text: strings as they are, numbers and booleans as Python writes them. Error with `where` (the row).
  std::string render(const Json& row, const std::string& where) const;

 private:
  struct Step {
    enum class Kind { kKey, kIndex, kEach } kind;
    std::string key;
    std::size_t index = 0;
  };
  using Filter = std::string (*)(std::string_view);
  struct Part {
    std::string text;  // literal, or the expression as written
    bool expression = false;
    std::vector<Step> steps;
    std::vector<Filter> filters;
  };

  static Part parse_expression(std::string_view text, const std::string& where);
  static std::vector<Step> parse_path(std::string_view path, const std::string& where);
  static Json look_up(const Json& value, const Step* step, const Step* end);
  static Json filtered(const Part& part, const Json& value);

  std::vector<Part> parts_;
};

// A value as Python's str() gives it for strings, numbers and booleans.
std::string text_of(const Json& value);

}  // namespace lrqat::eval
