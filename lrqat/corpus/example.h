// What a row of data is before it is text: a document, or a conversation, which a chat template makes one of.
#pragma once

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::corpus {

struct Span {
  std::size_t begin = 0, end = 0;  // bytes
};

// A text to learn. What is not scored (a prompt) is seen, but not learned.
struct Document {
  std::string text;
  std::vector<Span> scored;  // in order, apart from each other; empty: all of the text
};

struct Conversation {
  // As chat templates expect them: objects with "role" (system, user, assistant, tool, …) and "content",
  // which is a text or a list of parts {"type": "text", "text": …}, or null beside "tool_calls"; whatever
  // else a message had is kept, but for members that were null.
  Json messages = Json::array();
  Json tools;  // a list of the functions that may be called; null: none
  std::size_t prompt_messages =
      0;  // so many of the first messages are a prompt: their answers are not learned
};

using Example = std::variant<Document, Conversation>;

// The text of a message: its content, parts one behind the other.
std::string content_text(const Json& message);

// Whether there is an answer to learn: something that the assistant says or calls behind the prompt.
bool has_answer(const Conversation& conversation);

}  // namespace lrqat::corpus
