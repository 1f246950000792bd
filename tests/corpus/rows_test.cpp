// Rows: what conversations keep, which layout a row has, and what is said of those that cannot be read.
#include <gtest/gtest.h>

#include "lrqat/base/json.h"
#include "tests/corpus/test_data.h"

namespace lrqat::corpus {
namespace {

class RowFiles : public DataFolder {
 protected:
  Conversation conversation(const std::string& row) const {
    std::vector<Example> examples;
    DocumentFile(write("one.jsonl", row + "\n"), {})
        .read_examples(
            [&](Example&& example, const std::string&) { examples.push_back(std::move(example)); });
    return std::get<Conversation>(examples.at(0));
  }
  std::string text(const std::string& row) const {
    return read_documents(write("one.jsonl", row + "\n")).at(0).text;
  }
};

TEST_F(RowFiles, ConversationsKeepWhatTemplatesRead) {
  const Conversation found = conversation(
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}], "name": "Eva", "weight": null},
          {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "f",
           "arguments": {"x": 1}}}]},
          {"role": "tool", "tool_call_id": "1", "content": "2"}, {"role": "assistant", "content": "b"}],
          "tools": "[{\"type\": \"function\"}]"})");
  EXPECT_EQ(found.messages,
            parse_json(R"([{"role": "user", "content": [{"type": "text", "text": "a"}], "name": "Eva"},
      {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "f",
       "arguments": {"x": 1}}}]},
      {"role": "tool", "tool_call_id": "1", "content": "2"}, {"role": "assistant", "content": "b"}])",
                       "expected"));
  EXPECT_EQ(found.tools, parse_json(R"([{"type": "function"}])", "expected"));
  EXPECT_EQ(found.prompt_messages, 0U);
}

TEST_F(RowFiles, NamesOfOtherProgramsBecomeRoles) {
  const Conversation found = conversation(
      R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "u"},
          {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "o"},
          {"from": "gpt", "value": "a"}]})");
  EXPECT_EQ(found.messages,
            parse_json(R"([{"role": "system", "content": "s"}, {"role": "user", "content": "u"},
      {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]},
      {"role": "tool", "content": "o"}, {"role": "assistant", "content": "a"}])",
                       "expected"));
}

TEST_F(RowFiles, ThePlainFormScoresAnswersAlone) {
  const auto path = write(
      "a.jsonl",
      R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}, {"role": "tool", "content": "2"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "bye"}], "tools": [{"name": "f"}]})");
  const Document document = read_documents(path).at(0);
  EXPECT_EQ(document.text,
            "Tools: [{\"name\":\"f\"}]\n\nUser: q\n\nAssistant: {\"name\":\"f\"}\n\nTool: 2\n\nAssistant: "
            "a\n\nUser: bye");
  ASSERT_EQ(document.scored.size(), 2U);
  const auto part = [&](const Span& span) { return document.text.substr(span.begin, span.end - span.begin); };
  EXPECT_EQ(part(document.scored[0]), " {\"name\":\"f\"}\n\n");
  EXPECT_EQ(part(document.scored[1]), " a\n\n");
}

TEST_F(RowFiles, EmptyAndNullCountAsMissing) {
  EXPECT_EQ(text(R"({"text": "a", "messages": null, "instruction": "", "output": ""})"), "a");
  EXPECT_EQ(text(R"({"text": "", "prompt": "a", "completion": "b"})"), "ab");
  EXPECT_EQ(
      text(
          R"({"text": null, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})"),
      "User: q\n\nAssistant: a");
  EXPECT_EQ(text(R"({"prompt": null, "completion": "b"})"), "b");
  // Rows with nothing to learn, of whatever layout, are left out.
  const auto path = write("a.jsonl",
                          "{\"text\": \"a\", \"messages\": null}\n{\"text\": null, \"messages\": null}\n"
                          "{\"text\": \"\"}\n{\"text\": \"b\", \"messages\": []}\n");
  DocumentFile file(path, {});
  std::vector<std::string> texts;
  file.read([&](Document&& document) { texts.push_back(document.text); });
  EXPECT_EQ(texts, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(file.rows(), 4);
  EXPECT_EQ(file.left_out(), 2);
  expect_error("b.jsonl", R"({"messages": [{"role": "user", "content": "q"}]})",
               "none of its 1 rows has anything to learn");
}

TEST_F(RowFiles, TheFormatDecidesBetweenLayouts) {
  const auto path = write("a.jsonl", R"({"instruction": "q", "output": "a", "text": "all of it"})");
  expect_error("a.jsonl", R"({"instruction": "q", "output": "a", "text": "all of it"})",
               "a.jsonl:1: can be read as {\"text\"} and as {\"instruction\"");
  EXPECT_EQ(read_documents(path, {.format = "text"}).at(0).text, "all of it");
  EXPECT_EQ(read_documents(path, {.format = "alpaca"}).at(0).scored.size(), 1U);
  EXPECT_EQ(read_documents(path, {.format = "plain"}).at(0).text,
            R"({"instruction": "q", "output": "a", "text": "all of it"})");
  EXPECT_EQ(read_documents(write("a.txt", "prose"), {.format = "text"}).at(0).text, "prose");
  expect_error("b.jsonl", R"({"text": "a"})",
               "b.jsonl:1: found the keys \"text\"; rows that are read: {\"messages\"",
               {.format = "messages"});
  expect_error("b.txt", "prose", "holds no rows of JSON, but `eval-data-format` is alpaca",
               {.format = "alpaca", .setting = "eval-data-format"});
  EXPECT_THROW(check_data_format("chatml", "data-format"), UsageError);
  for (const std::string& format : data_formats()) check_data_format(format, "data-format");
}

TEST_F(RowFiles, HostileRowsAreNamedWithFileAndLine) {
  const std::string good =
      R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})";
  const struct {
    std::string row;
    const char* expected;
  } cases[] = {
      {R"({"messages": "a"})", "key \"messages\" should be a list of messages, found \"a\""},
      {R"({"messages": {"role": "user"}})", "key \"messages\" should be a list of messages"},
      {R"({"messages": [5]})", "message 1 of \"messages\": expected an object"},
      {R"({"messages": [{"content": "a"}]})", "message 1 of \"messages\": has no \"role\""},
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "asistant", "content": "a"}]})",
       "message 2 of \"messages\": is of \"asistant\"; known are system"},
      {R"({"messages": [{"role": "user"}]})", "message 1 of \"messages\": has no \"content\""},
      {R"({"messages": [{"role": 5, "content": "a"}]})", "key \"role\" has an unexpected value 5"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "key \"content\" has an unexpected value 5"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]})",
       "a part that is no text"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]})",
       "key \"text\" has an unexpected value 5"},
      {R"({"messages": [{"role": "user", "content": "\ud83d"}]})", "key \"content\""},
      {R"({"messages": [{"role": "user", "content": "a"}], "tools": {"a": 1}})",
       "key \"tools\" should be a list"},
      {R"({"messages": [{"role": "user", "content": "a"}], "tools": "[{"})", "key \"tools\""},
      {R"({"messages": [{"role": "system", "content": "a"}], "system": "b"})",
       "a \"system\" text beside a system message"},
      {R"({"messages": [{"role": "user", "content": "a"}], "text": "b"})",
       "can be read as {\"text\"} and as {\"messages\""},
      {R"({"messages": [{"role": "user", "content": "a"}], "conversations": [{"from": "human", "value": "a"}]})",
       "can be read as {\"messages\""},
      {R"([{"role": "user", "content": "a"}])", "expected a JSON object, one a line, found array"},
      {R"("a")", "expected a JSON object"},
      {R"({"messages": [{"role": "user", "content": "q"})", "not valid JSON"},
      {R"({"chosen": "a", "rejected": "b"})", "found the keys \"chosen\", \"rejected\""},
  };
  for (const auto& c : cases) {
    const std::string error = error_of("rows.jsonl", good + "\n\n" + c.row + "\n");
    EXPECT_NE(error.find("rows.jsonl:3: "), std::string::npos) << error;
    EXPECT_NE(error.find(c.expected), std::string::npos) << error;
  }
  expect_error("prompt.jsonl", R"({"prompt": [{"role": "user", "content": "a"}], "completion": "b"})",
               "prompt.jsonl:1: key \"completion\" should be a list");
  expect_error("text.jsonl", R"({"text": ["a"]})", "text.jsonl:1: key \"text\" has an unexpected value");
  expect_error(
      "call.jsonl", R"({"conversations": [{"from": "function_call", "value": "f of x"}]})",
      "call.jsonl:1: message 1 of \"conversations\": is a \"function_call\", whose text must be JSON");
  expect_error("two.jsonl", good + "\n" + R"({"text": "a"})", "line 1 is {\"messages\"");
  expect_error("two.jsonl", good + "\n" + R"({"text": "a"})", "line 2 is {\"text\"}");
}

}  // namespace
}  // namespace lrqat::corpus
