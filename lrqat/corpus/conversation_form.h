// How conversations become text: the one place where a model's chat template is put in.
#pragma once

#include <functional>
#include <string>

#include "lrqat/corpus/example.h"

namespace lrqat::corpus {

struct ConversationForm {
  // The text, with the assistant's turns behind the prompt scored: at least one, as rows without an answer
  // are left out before. `where` names file and line in errors.
  std::function<Document(const Conversation& conversation, const std::string& where)> document;
  std::string notice;  // what the user is told where conversations are read; empty: nothing
};

// The form without a template. A blank line parts turns, and each begins with who speaks:
//   System: …
//   User: …
//   Assistant: …
// (also Developer, Tool, …). Tools stand before all of them ("Tools: " and JSON), calls behind what the
// assistant says, each on a line of its own as JSON. Scored is what follows "Assistant:", with the blank line
// that ends the turn.
ConversationForm plain_form();

}  // namespace lrqat::corpus
