// Every layout under every name, packed and encoded in every way, gives the documents of its plain form.
#include <gtest/gtest.h>

#include <vector>

#include "lrqat/base/json.h"
#include "tests/corpus/test_data.h"

namespace lrqat::corpus {
namespace {

// Two rows of a layout, and what they must become.
struct RowCase {
  const char* layout;
  std::vector<const char*> rows;
  std::vector<Document> documents;
};

const char* const kAlpacaPrompt =
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\nSag \"ü\".\n\n### Response:";

Document answered(const std::string& prompt, const std::string& answer) {
  return {prompt + answer, {{prompt.size(), prompt.size() + answer.size()}}};
}

std::vector<RowCase> row_cases() {
  const std::string task = kAlpacaPrompt,
                    turns = "User: Hi [}\"\n\nAssistant: Grüße 😀\n\nUser: ü?\n\nAssistant: ja";
  const std::size_t first = turns.find(" Grüße"), first_end = turns.find("User: ü"), last = turns.find(" ja");
  const Document chat{turns, {{first, first_end}, {last, turns.size()}}};
  const Document system = answered("System: Be kind.\n\nUser: Hi\n\nAssistant:", " 你好");
  return {
      {"text",
       {R"({"text": "Grüße,\n\"Welt\" 😀", "id": 1})", R"({"meta": {"a": [1, "]"]}, "text": "zwei"})"},
       {{"Grüße,\n\"Welt\" 😀", {}}, {"zwei", {}}}},
      {"alpaca",
       {R"({"instruction": "Sag \"ü\".", "input": "", "output": "ü {["})",
        R"({"instruction": "Sag \"ü\".", "input": null, "output": "é"})"},
       {answered(task, "ü {["), answered(task, "é")}},
      {"dolly",
       {R"({"instruction": "Sag \"ü\".", "context": "", "response": "ü", "category": "qa"})",
        R"({"instruction": "Sag \"ü\".", "context": null, "response": "é", "category": null})"},
       {answered(task, "ü"), answered(task, "é")}},
      {"prompt-completion",
       {R"({"prompt": "Zwei und zwei:", "completion": " vier"})", R"({"prompt": "ü", "completion": "é"})"},
       {answered("Zwei und zwei:", " vier"), answered("ü", "é")}},
      {"prompt-completion",
       {R"({"prompt": [{"role": "user", "content": "Hi [}\""}, {"role": "assistant", "content": "Grüße 😀"},
           {"role": "user", "content": "ü?"}], "completion": [{"role": "assistant", "content": "ja"}]})",
        R"({"prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
           "completion": [{"role": "assistant", "content": "你好"}]})"},
       {{turns, {{last, turns.size()}}}, system}},
      {"messages",
       {R"({"messages": [{"role": "user", "content": "Hi [}\""}, {"role": "assistant", "content": "Grüße 😀"},
           {"role": "user", "content": [{"type": "text", "text": "ü"}, {"type": "text", "text": "?"}]},
           {"role": "assistant", "content": "ja", "tool_calls": null}], "text": null})",
        R"({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
           {"role": "assistant", "content": "你好"}], "source": "x"})"},
       {chat, system}},
      {"conversations",
       {R"({"conversations": [{"from": "human", "value": "Hi [}\""}, {"from": "gpt", "value": "Grüße 😀"},
           {"from": "user", "value": "ü?"}, {"from": "assistant", "value": "ja"}], "id": "a"})",
        R"({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "你好"}],
           "system": "Be kind."})"},
       {chat, system}},
  };
}

// The rows as a file.
using Arrange = std::string (*)(const std::vector<Json>& rows);

std::string joined(const std::vector<Json>& rows, int indent, const char* between) {
  std::string out;
  for (const Json& row : rows) out += (out.empty() ? "" : between) + row.dump(indent);
  return out;
}
std::string lines(const std::vector<Json>& rows) { return joined(rows, -1, "\n") + "\n"; }
std::string blank_lines(const std::vector<Json>& rows) { return "\n" + joined(rows, -1, "\n\n"); }
std::string array(const std::vector<Json>& rows) { return Json(rows).dump(); }
std::string pretty_array(const std::vector<Json>& rows) { return "\n" + Json(rows).dump(2) + "\n"; }
std::string pretty_values(const std::vector<Json>& rows) { return joined(rows, 2, "\n") + "\n"; }
std::string array_within(const std::vector<Json>& rows) {
  return Json{{"version", {1, 2}}, {"data", rows}, {"z\"]", "}"}}.dump();
}
std::string pretty_array_within(const std::vector<Json>& rows) {
  return Json{{"a", {{"b", "]"}}}, {"rows", rows}}.dump(1);
}

constexpr Arrange kArranges[] = {lines,        blank_lines,        array, pretty_array, pretty_values,
                                 array_within, pretty_array_within};

using Change = std::string (*)(std::string_view text);

constexpr Change kEncodings[] = {as_is, with_mark, little, big, little_unmarked, big_unmarked, windows};

constexpr Change kPackings[] = {as_is, gzip, xz, zstd, in_two<gzip>, in_two<xz>, in_two<zstd>};

// Names tell nothing that the content does not.
constexpr const char* kNames[] = {"a.jsonl", "a.json", "a.txt", "a.JSONL.gz", "a.ndjson.zst", "a", "a.xz"};

void expect_same(const std::vector<Document>& found, const std::vector<Document>& expected,
                 const std::string& form) {
  ASSERT_EQ(found.size(), expected.size()) << form;
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].text, expected[i].text) << form;
    ASSERT_EQ(found[i].scored.size(), expected[i].scored.size()) << form;
    for (std::size_t j = 0; j < found[i].scored.size(); ++j) {
      EXPECT_EQ(found[i].scored[j].begin, expected[i].scored[j].begin) << form;
      EXPECT_EQ(found[i].scored[j].end, expected[i].scored[j].end) << form;
    }
  }
}

class Forms : public DataFolder {};

TEST_F(Forms, RowsAreTheSameInEveryForm) {
  for (const RowCase& row_case : row_cases()) {
    std::vector<Json> rows;
    for (const char* row : row_case.rows) rows.push_back(parse_json(row, row_case.layout));
    for (std::size_t arrange = 0; arrange < std::size(kArranges); ++arrange) {
      for (std::size_t encoding = 0; encoding < std::size(kEncodings); ++encoding) {
        for (std::size_t packing = 0; packing < std::size(kPackings); ++packing) {
          const char* name = kNames[(arrange + encoding + packing) % std::size(kNames)];
          const std::string form = concat(row_case.layout, " arranged ", arrange, " encoded ", encoding,
                                          " packed ", packing, " as ", name);
          const auto path = write(name, kPackings[packing](kEncodings[encoding](kArranges[arrange](rows))));
          for (const char* format : {"auto", row_case.layout}) {
            try {
              expect_same(read_documents(path, {.format = format}), row_case.documents, form);
            } catch (const Error& error) {
              ADD_FAILURE() << form << ": " << error.what();
            }
          }
        }
      }
    }
  }
}

TEST_F(Forms, TextIsTheSameInEveryForm) {
  const std::string text = "Grüße,\n\nWelt 😀\n<|endoftext|>\n{ kein JSON\nÜ\n";
  const std::vector<Document> expected{{"Grüße,\n\nWelt 😀\n", {}}, {"{ kein JSON\nÜ\n", {}}};
  for (const Change encode : kEncodings) {
    for (const Change pack : kPackings) {
      for (const char* name : {"a.txt", "a", "a.txt.gz", "a.raw.xz"}) {
        const auto path = write(name, pack(encode(text)));
        expect_same(read_documents(path), expected, name);
        expect_same(read_documents(path, {.format = "plain"}), expected, name);
        EXPECT_EQ(DocumentFile(path, {}).read_whole(), text);
      }
    }
  }
}

// Blocks of the reader end everywhere in characters, lines and values.
TEST_F(Forms, LongFilesAreTheSameInEveryForm) {
  std::vector<Json> rows;
  std::vector<Document> expected;
  for (int i = 0; i < 3000; ++i) {
    std::string text(static_cast<std::size_t>(i % 97), 'a');
    text += "ü😀 \"\\]}{[," + std::to_string(i);
    rows.push_back({{"text", text}});
    expected.push_back({text, {}});
  }
  rows.push_back({{"text", std::string(300000, 'b')}});
  expected.push_back({std::string(300000, 'b'), {}});
  for (const Arrange arrange : kArranges) {
    const std::string text = arrange(rows);
    for (const std::string& bytes :
         {text, little(text), gzip(text), in_two<xz>(text), in_two<zstd>(big(text))})
      expect_same(read_documents(write("a.txt", bytes)), expected, "long");
  }
}

}  // namespace
}  // namespace lrqat::corpus
