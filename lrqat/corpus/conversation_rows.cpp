#include "lrqat/corpus/conversation_rows.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/corpus/lines.h"

namespace lrqat::corpus {
namespace {

struct Speaker {
  const char* name;  // as data sets write it
  const char* role;  // as chat templates do
};

constexpr Speaker kSpeakers[] = {
    {"system", "system"},     {"developer", "developer"},     {"user", "user"},
    {"human", "user"},        {"assistant", "assistant"},     {"gpt", "assistant"},
    {"chatgpt", "assistant"}, {"bot", "assistant"},           {"model", "assistant"},
    {"tool", "tool"},         {"observation", "tool"},        {"function", "function"},
    {"ipython", "ipython"},   {"function_call", "assistant"},
};

std::string role_of(const std::string& name, const std::string& where) {
  const auto* speaker = std::find_if(std::begin(kSpeakers), std::end(kSpeakers),
                                     [&](const Speaker& known) { return name == known.name; });
  if (speaker != std::end(kSpeakers)) return speaker->role;
  std::string known;
  for (const Speaker& row : kSpeakers) known.append(known.empty() ? "" : ", ").append(row.name);
  fail(where, ": is of ", quote(name), "; known are ", known);
}

Json parts_of(const Json& parts, const std::string& where) {
  for (const Json& part : parts) {
    const bool is_text = part.is_object() && part.contains("text") &&
                         json_get_or<std::string>(part, "type", "text", where) == "text";
    if (!is_text && !part.is_string()) {
      fail(where, ": has a part that is no text, ", json_excerpt(part), "; lrqat trains on text alone");
    }
    check_json_value(part.is_string() ? part : Json(json_get<std::string>(part, "text", where)), "a part",
                     where);
  }
  return parts;
}

// ShareGPT's turn of a call: its text is the call as JSON.
Json called(const Json& turn, const std::string& text, const std::string& where) {
  const std::optional<Json> call = try_parse_json(text);
  if (!call || !call->is_object() || !call->contains("name"))
    fail(where, R"(: is a "function_call", whose text must be JSON with "name" and "arguments"; found )",
         quote(text));
  Json message = turn;
  message["content"] = "";
  message["tool_calls"] = Json::array({{{"type", "function"}, {"function", *call}}});
  return message;
}

// The keys under which a turn has its speaker and its text.
struct TurnKeys {
  const char* speaker;
  const char* text;
};

TurnKeys keys_of(const Json& turn, const std::string& where) {
  if (!turn.is_object())
    fail(where, ": expected an object with \"role\" and \"content\", found ", json_excerpt(turn));
  for (const TurnKeys keys : {TurnKeys{"role", "content"}, TurnKeys{"from", "value"}}) {
    if (turn.contains(keys.speaker)) return keys;
  }
  fail(where, ": has no \"role\" (or \"from\"); found ", json_excerpt(turn));
}

Json content_of(const Json& turn, const TurnKeys& keys, const std::string& where) {
  const auto content = turn.find(keys.text);
  if (content == turn.end() || content->is_null()) {
    if (content == turn.end() && !turn.contains("tool_calls")) fail(where, ": has no \"", keys.text, "\"");
    return turn.value("tool_calls", Json()).is_array() ? Json() : Json("");
  }
  if (content->is_array()) return parts_of(*content, where);
  return json_get<std::string>(turn, keys.text, where);
}

// A turn as a message. Members that are null were none: tables fill columns with it.
Json message_of(const Json& turn, const std::string& where) {
  const TurnKeys keys = keys_of(turn, where);
  const auto speaker = json_get<std::string>(turn, keys.speaker, where);
  Json message = Json::object();
  message["role"] = role_of(speaker, where);
  message["content"] = content_of(turn, keys, where);
  for (const auto& [key, value] : turn.items()) {
    const bool none = value.is_null() || (key == "tool_calls" && value.empty());
    if (key != keys.speaker && key != keys.text && !none) message.emplace(key, value);
  }
  return speaker == "function_call" ? called(message, content_text(message), where) : message;
}

void add_turns(const Json& row, const char* key, const std::string& where, Json& messages) {
  const auto turns = row.find(key);
  if (turns == row.end() || turns->is_null()) return;
  if (!turns->is_array())
    fail(where, ": key \"", key, "\" should be a list of messages, found ", json_excerpt(*turns));
  for (std::size_t i = 0; i < turns->size(); ++i) {
    messages.push_back(message_of((*turns)[i], concat(where, ": message ", i + 1, " of \"", key, "\"")));
  }
}

void add_system(const Json& row, const std::string& where, Json& messages) {
  const auto system = json_get_or<std::string>(row, "system", "", where);
  if (is_blank(system)) return;
  if (!messages.empty() && messages.front()["role"] == "system") {
    if (content_text(messages.front()) == system) return;
    fail(where, ": has a \"system\" text beside a system message that says something else; keep one of them");
  }
  messages.insert(messages.begin(), Json{{"role", "system"}, {"content", system}});
}

// Some data sets keep the list as a text.
Json tools_of(const Json& row, const std::string& where) {
  const auto tools = row.find("tools");
  if (tools == row.end() || tools->is_null()) return {};
  Json list = *tools;
  if (list.is_string()) {
    const auto text = list.get<std::string>();
    if (is_blank(text)) return {};
    list = parse_json(text, where + ": key \"tools\"");
  }
  if (!list.is_array())
    fail(where, ": key \"tools\" should be a list of functions, found ", json_excerpt(list));
  return list.empty() ? Json() : list;
}

}  // namespace

std::string content_text(const Json& message) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) return {};
  if (content->is_string()) return content->get<std::string>();
  std::string text;
  for (const Json& part : *content)
    text += part.is_string() ? part.get<std::string>() : part["text"].get<std::string>();
  return text;
}

bool has_answer(const Conversation& conversation) {
  const auto begin =
      conversation.messages.begin() + static_cast<std::ptrdiff_t>(conversation.prompt_messages);
  return std::any_of(begin, conversation.messages.end(), [](const Json& message) {
    return message["role"] == "assistant" &&
           (!is_blank(content_text(message)) || message.contains("tool_calls"));
  });
}

Conversation turns_of(const Json& row, const char* key, const std::string& where) {
  Conversation conversation;
  add_turns(row, key, where, conversation.messages);
  add_system(row, where, conversation.messages);
  conversation.tools = tools_of(row, where);
  return conversation;
}

Conversation prompted_turns_of(const Json& row, const std::string& where) {
  Conversation conversation;
  add_turns(row, "prompt", where, conversation.messages);
  conversation.prompt_messages = conversation.messages.size();
  add_turns(row, "completion", where, conversation.messages);
  conversation.tools = tools_of(row, where);
  return conversation;
}

}  // namespace lrqat::corpus
