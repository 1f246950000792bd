#include "lrqat/corpus/conversation_form.h"

namespace lrqat::corpus {
namespace {

constexpr const char* kBetween = "\n\n";

// "Assistant" of "assistant".
std::string title(std::string role) {
  if (role[0] >= 'a' && role[0] <= 'z') role[0] = static_cast<char>(role[0] - 'a' + 'A');
  return role;
}

std::string said(const Json& message) {
  std::string text = content_text(message);
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return text;
  for (const Json& call : *calls) {
    if (!text.empty()) text += '\n';
    text += json_text(call.is_object() && call.contains("function") ? call["function"] : call);
  }
  return text;
}

Document plain_document(const Conversation& conversation, const std::string& /*where*/) {
  Document document;
  std::string& text = document.text;
  if (!conversation.tools.is_null()) text = "Tools: " + json_text(conversation.tools) + kBetween;
  const Json& messages = conversation.messages;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto role = messages[i]["role"].get<std::string>();
    text += title(role) + ":";
    const std::size_t begin = text.size();
    text += " " + said(messages[i]);
    if (i + 1 < messages.size()) text += kBetween;
    if (role == "assistant" && i >= conversation.prompt_messages)
      document.scored.push_back({begin, text.size()});
  }
  return document;
}

}  // namespace

ConversationForm plain_form() {
  return {plain_document,
          "no chat template is used: conversations are read as plain text, turns that begin with \"User:\", "
          "\"Assistant:\", …; the assistant's are learned"};
}

}  // namespace lrqat::corpus
