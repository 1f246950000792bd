// A model's chat template: the Jinja program that makes one text of a conversation, run as transformers'
// apply_chat_template runs it (jinja2's ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop
// controls and {% generation %}). What a template gets is JSON with the keys in their order (OrderedJson),
// for templates print tools and arguments as they were written.
#pragma once

#include <cstddef>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/chat/budget.h"

namespace lrqat::chat {

struct Program;

struct RenderOptions {
  bool add_generation_prompt = false;
  std::optional<std::string> bos_token;  // not given: undefined in the template
  std::optional<std::string> eos_token;
  OrderedJson tools;      // a list of JSON schemas; null: none
  OrderedJson documents;  // a list of objects; null: none
  OrderedJson variables;  // an object of further variables ("enable_thinking", "unk_token" …); null: none
  std::optional<std::tm> now;  // what strftime_now tells; not given: the local time
  Limits limits;
};

// Bytes of a rendered text, from begin up to end.
struct Span {
  std::size_t begin;
  std::size_t end;
  bool operator==(const Span&) const = default;
};

struct Rendered {
  std::string text;
  // What {% generation %} … {% endgeneration %} wrote: the assistant's text, where the template marks it. In
  // order, not empty, also where a macro or a set block wrote it.
  std::vector<Span> generation;
  // Of each message, what of the text comes from its fields other than the role, in order. Text that is made
  // of them by filters and methods counts; where one text is made of several messages' in another way than by
  // putting them side by side, it counts for none.
  std::vector<std::vector<Span>> messages;
  // Where each piece begins that the template writes at once: a {{ … }}, or what stands between two tags.
  std::vector<std::size_t> pieces;
};

// What raise_exception says: the template refuses the conversation.
class TemplateRefusal : public Error {
 public:
  TemplateRefusal(const std::string& place, std::string message)
      : Error(place + "the chat template refuses the conversation: " + message),
        message_(std::move(message)) {}
  const std::string& message() const { return message_; }

 private:
  std::string message_;
};

class ChatTemplate {
 public:
  // Error with the line where the text is no template or uses what lrqat does not have. `where` names it in
  // errors.
  ChatTemplate(std::string_view text, const std::string& where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // The conversation as one text. Error with the line where jinja2 would raise one (TemplateRefusal: by
  // raise_exception), where the messages are no list of objects, and where the limits are exceeded. Several
  // threads may render at once.
  std::string render(const OrderedJson& messages, const RenderOptions& options = {}) const;
  // The same with where the parts of the text come from.
  Rendered render_tracked(const OrderedJson& messages, const RenderOptions& options = {}) const;

  bool marks_generation() const;  // has {% generation %}
  const std::string& where() const;

 private:
  std::unique_ptr<const Program> program_;
};

}  // namespace lrqat::chat
