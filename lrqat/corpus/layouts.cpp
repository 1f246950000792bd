#include "lrqat/corpus/layouts.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/corpus/conversation_rows.h"
#include "lrqat/corpus/lines.h"

namespace lrqat::corpus {
namespace {

using Read = std::optional<Example>;

std::string text_of(const Json& row, const char* key, const std::string& where) {
  return json_get_or<std::string>(row, key, "", where);
}

Read plain(const Json& row, const std::string& where) {
  std::string text = text_of(row, "text", where);
  if (is_blank(text)) return std::nullopt;
  return Document{std::move(text), {}};
}

// Seen: the prompt; learned: the answer. A row without an answer teaches nothing.
Read answered(const std::string& prompt, const std::string& answer) {
  if (is_blank(answer)) return std::nullopt;
  Document document{prompt + answer, {}};
  if (!prompt.empty()) document.scored = {{prompt.size(), document.text.size()}};
  return document;
}

Read conversation(Conversation turns) {
  if (!has_answer(turns)) return std::nullopt;
  return turns;
}

Read alpaca(const Json& row, const std::string& where) {
  return answered(alpaca_prompt(text_of(row, "instruction", where), text_of(row, "input", where)),
                  text_of(row, "output", where));
}

Read dolly(const Json& row, const std::string& where) {
  return answered(alpaca_prompt(text_of(row, "instruction", where), text_of(row, "context", where)),
                  text_of(row, "response", where));
}

Read completion(const Json& row, const std::string& where) {
  if (row["prompt"].is_array() || row["completion"].is_array())
    return conversation(prompted_turns_of(row, where));
  return answered(text_of(row, "prompt", where), text_of(row, "completion", where));
}

Read messages(const Json& row, const std::string& where) {
  return conversation(turns_of(row, "messages", where));
}
Read sharegpt(const Json& row, const std::string& where) {
  return conversation(turns_of(row, "conversations", where));
}

bool is_empty(const Json& value) {
  return value.is_null() || (value.is_array() && value.empty()) ||
         (value.is_string() && is_blank(value.get_ref<const std::string&>()));
}

// Has all the keys, none null, and one that says something.
bool is_filled(const Json& row, const Layout& layout) {
  return has_keys(row, layout) &&
         std::none_of(layout.keys.begin(), layout.keys.end(),
                      [&](auto* key) { return row[key].is_null(); }) &&
         std::any_of(layout.keys.begin(), layout.keys.end(), [&](auto* key) { return !is_empty(row[key]); });
}

std::string keys_of(const Json& row) {
  constexpr std::size_t kMost = 12, kLongest = 40;
  std::string out;
  std::size_t count = 0;
  for (const auto& [key, value] : row.items()) {
    if (count++ == kMost) return out + ", …";
    out.append(out.empty() ? "\"" : ", \"").append(key.substr(0, kLongest)).append("\"");
  }
  return out.empty() ? "none" : out;
}

}  // namespace

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> table = {
      {"text", R"({"text"})", {"text"}, plain},
      {"alpaca",
       R"({"instruction", "input", "output"} (Alpaca; "input" may be missing))",
       {"instruction", "output"},
       alpaca},
      {"dolly",
       R"({"instruction", "context", "response"} (Dolly; "context" may be missing))",
       {"instruction", "response"},
       dolly},
      {"prompt-completion",
       R"({"prompt", "completion"} (texts or lists of messages))",
       {"prompt", "completion"},
       completion},
      {"messages", R"({"messages": [{"role", "content"}, …]})", {"messages"}, messages},
      {"conversations",
       R"({"conversations": [{"from", "value"}, …]} (ShareGPT))",
       {"conversations"},
       sharegpt},
  };
  return table;
}

const Layout* find_layout(const std::string& name) {
  const auto& table = layouts();
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Layout& row) { return row.name == name; });
  return found == table.end() ? nullptr : &*found;
}

const Layout* layout_of(const Json& row, const std::string& where, const std::string& setting) {
  std::vector<const Layout*> filled, empty;
  for (const Layout& layout : layouts()) {
    if (is_filled(row, layout))
      filled.push_back(&layout);
    else if (has_keys(row, layout))
      empty.push_back(&layout);
  }
  if (filled.size() > 1) {
    fail(where, ": can be read as ", filled[0]->form, " and as ", filled[1]->form, "; say which with `",
         setting, "` (", filled[0]->name, " or ", filled[1]->name, ")");
  }
  const auto& found = filled.empty() ? empty : filled;
  if (found.empty()) fail_no_layout(row, where);
  return found.size() == 1 ? found.front() : nullptr;
}

bool has_keys(const Json& row, const Layout& layout) {
  return std::all_of(layout.keys.begin(), layout.keys.end(), [&](auto* key) { return row.contains(key); });
}

bool is_row(const Json& value) {
  const auto holds_rows = [&](const char* key) {
    return value[key].is_array() && !value[key].empty() && is_row(value[key].front());
  };
  return value.is_object() && std::any_of(layouts().begin(), layouts().end(), [&](const Layout& layout) {
           return has_keys(value, layout) && std::none_of(layout.keys.begin(), layout.keys.end(), holds_rows);
         });
}

void fail_no_layout(const Json& row, const std::string& where, const Layout* expected) {
  const bool is_turn = row.contains("role") || row.contains("from");
  fail(where, ": found the keys ", keys_of(row),
       "; rows that are read: ", expected ? expected->form : known_layouts(),
       is_turn ? R"(. A message is no row: put those of a conversation into a list, {"messages": […]})" : "");
}

std::string known_layouts() {
  std::string out;
  for (const Layout& layout : layouts()) out.append(out.empty() ? "" : ", ").append(layout.form);
  return out;
}

std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
  const std::string task = "### Instruction:\n" + instruction + "\n\n";
  if (input.empty()) {
    return "Below is an instruction that describes a task. "
           "Write a response that appropriately completes the request.\n\n" +
           task + "### Response:";
  }
  return "Below is an instruction that describes a task, paired with an input that provides further context. "
         "Write a response that appropriately completes the request.\n\n" +
         task + "### Input:\n" + input + "\n\n### Response:";
}

}  // namespace lrqat::corpus
