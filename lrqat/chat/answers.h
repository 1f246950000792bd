// Which bytes of a rendered conversation the assistant says: what a loss on answers is taken of.
//
// A template with {% generation %} says it itself. For another one the answer of message i is what must
// follow the prompt that the model is given before it: the conversation up to i, with the generation prompt.
// It ends where the conversation up to and with i ends, so that the token that ends a turn belongs to it.
//
// Where each of these texts begins the next one and the whole conversation, that is exact by itself. Some
// templates write a turn in another way once it is not the last (Qwen3 leaves earlier <think> parts out).
// There the bytes that come from the message (Rendered::messages) say where its answer is. Of the template's
// own text behind them those pieces belong to it that also stand there where the conversation ends with it.
// The text before them must be what the prompt ends with, or as much of that as stands before a plain answer
// in the same place. Where it is not, the begin cannot be said, and an Error names the message; the last
// answer of a conversation that ends with it can be said for nearly every template.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/chat/chat_template.h"

namespace lrqat::chat {

struct Answer {
  Span span;
  std::optional<std::size_t> message;  // whose it is; unknown where {% generation %} marks none of its text
};

struct Conversation {
  std::string text;
  std::vector<Answer> answers;  // in order
};

enum class WhichAnswers { kAll, kLast };

// The conversation without a generation prompt (whatever the options say), and the answers in it: of the
// messages whose role is "assistant", or of the last of them alone. Error as render, and where an answer
// cannot be found. Renders the conversation's begin twice for every answer, unless the template has {%
// generation %}.
Conversation find_answers(const ChatTemplate& chat_template, const OrderedJson& messages,
                          const RenderOptions& options = {}, WhichAnswers which = WhichAnswers::kAll);

}  // namespace lrqat::chat
