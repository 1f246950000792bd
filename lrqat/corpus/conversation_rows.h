// Rows that hold conversations, as Conversation (example.h).
#pragma once

#include <string>

#include "lrqat/corpus/example.h"

namespace lrqat::corpus {

// `where` names file and line in errors: turns without role or text, unknown roles, parts that are no text.

// Of a row with its turns under `key` ("messages", "conversations"), each with "role" and "content" or with
// "from" and "value"; "system" and "tools" beside them count.
Conversation turns_of(const Json& row, const char* key, const std::string& where);

// Of a row whose "prompt" and "completion" are lists of messages.
Conversation prompted_turns_of(const Json& row, const std::string& where);

}  // namespace lrqat::corpus
