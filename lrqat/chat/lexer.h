// A template text as tokens, with jinja2's white space control: trim_blocks and lstrip_blocks are on, as
// transformers sets them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lrqat::chat {

struct Token {
  enum class Kind {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kText,
    kInteger,
    kReal,
    kOperator,
    kEnd,
  };
  Kind kind;
  std::string value;  // of texts without escapes, of numbers without underscores
  int line;
};

// Error with the line where a tag, a text or a bracket is broken. `where` names the template.
std::vector<Token> tokenize(std::string_view source, const std::string& where);

std::string described(const Token& token);  // for messages

}  // namespace lrqat::chat
