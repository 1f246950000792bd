// The parser behind parse_json and parse_ordered_json (json.h): one pass, bounded depth and number of values,
// errors with line and column.
#pragma once

#include <string>
#include <string_view>

#include "lrqat/base/json.h"

namespace lrqat {

template <typename J>  // Json or OrderedJson
class JsonParser {
 public:
  JsonParser(std::string_view text, const std::string& where, const JsonRules& rules)
      : text_(text), where_(where), rules_(rules) {}

  J parse();

 private:
  J value(int depth);
  J object(int depth);
  J array(int depth);
  J number();
  std::string string();
  void escape(std::string& out);
  unsigned hex4();
  void character(std::string& out);
  bool digits();
  bool take(std::string_view word);
  void skip_space();
  void enter(int depth);
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  std::string found() const;
  [[noreturn]] void fail_here(const std::string& what) const;

  std::string_view text_;
  const std::string& where_;
  const JsonRules& rules_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
};

}  // namespace lrqat
