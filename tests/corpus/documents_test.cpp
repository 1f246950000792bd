// Text files to documents, with their error messages.
#include "lrqat/corpus/documents.h"

#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "tests/formats/test_files.h"

namespace lrqat::corpus {
namespace {

using Texts = std::vector<std::string>;

Texts texts_of(const std::filesystem::path& path, const ReadOptions& options = {}) {
  Texts texts;
  for (const Document& document : read_documents(path, options)) texts.push_back(document.text);
  return texts;
}

std::string whole(const std::filesystem::path& path) { return DocumentFile(path, {}).read_whole(); }

// What is learned of a document with a prompt.
std::string answer_of(const Document& document) {
  EXPECT_EQ(document.scored.size(), 1U);
  EXPECT_EQ(document.scored.at(0).end, document.text.size());
  return document.text.substr(document.scored.at(0).begin);
}

class TextFiles : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, std::string_view text) const {
    write_text_file(folder_.path() / name, text);
    return folder_.path() / name;
  }

  std::string error_of(const std::string& name, std::string_view text,
                       const ReadOptions& options = {}) const {
    try {
      read_documents(write(name, text), options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  formats::TemporaryFolder folder_;
};

TEST_F(TextFiles, PlainTextIsOneDocument) {
  EXPECT_EQ(texts_of(write("a.txt", "Grüße,\n\nWelt\n")), Texts{"Grüße,\n\nWelt\n"});
}

TEST_F(TextFiles, PlainTextIsCutAtSeparatorLines) {
  const auto path = write(
      "a.txt", "one\ntwo\n<|endoftext|>\nthree <|endoftext|> four\n  <|endoftext|>\r\n\n<|endoftext|>\nend");
  EXPECT_EQ(texts_of(path), (Texts{"one\ntwo\n", "three <|endoftext|> four\n", "end"}));
}

TEST_F(TextFiles, ASeparatorMayBeTheLastLine) {
  EXPECT_EQ(texts_of(write("a.txt", "one\n<|endoftext|>")), Texts{"one\n"});
}

TEST_F(TextFiles, JsonLinesGiveTheirTexts) {
  const auto path =
      write("a.jsonl", "{\"text\": \"a\\nb\", \"id\": 1}\n\n{\"text\": \"\"}\n{\"id\": 2, \"text\": \"ü\"}");
  EXPECT_EQ(texts_of(path), (Texts{"a\nb", "ü"}));
}

// The prompts of the Alpaca repository, word for word.
TEST_F(TextFiles, AlpacaExamplesBecomePromptAndAnswer) {
  const auto path = write("a.jsonl",
                          "{\"instruction\": \"Add.\", \"input\": \"1 2\", \"output\": \"3\"}\n"
                          "{\"instruction\": \"Greet.\", \"input\": \"\", \"output\": \"Hi\"}\n"
                          "{\"instruction\": \"Say nothing.\", \"output\": \" \"}\n"
                          "{\"instruction\": \"Greet.\", \"output\": \"Hi\"}\n");
  const auto documents = read_documents(path);
  ASSERT_EQ(documents.size(), 3U);
  EXPECT_EQ(
      documents[0].text,
      "Below is an instruction that describes a task, paired with an input that provides further context. "
      "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n"
      "### Input:\n1 2\n\n### Response:3");
  EXPECT_EQ(answer_of(documents[0]), "3");
  EXPECT_EQ(
      documents[1].text,
      "Below is an instruction that describes a task. Write a response that appropriately completes the "
      "request.\n\n### Instruction:\nGreet.\n\n### Response:Hi");
  EXPECT_EQ(answer_of(documents[1]), "Hi");
  EXPECT_EQ(documents[2].text, documents[1].text);
  EXPECT_NE(error_of("b.jsonl", "{\"instruction\": \"Add.\"}").find("b.jsonl:1"), std::string::npos);
  const auto text = read_documents(
      write("c.jsonl", "{\"text\": \"plain\", \"instruction\": \"not looked at\", \"messages\": null}\n"));
  ASSERT_EQ(text.size(), 1U);
  EXPECT_EQ(text[0].text, "plain");
  EXPECT_TRUE(text[0].scored.empty());
}

// The same examples in every form and under every name.
TEST_F(TextFiles, RowsAreReadWhateverTheFileIsCalled) {
  const std::string one = R"({"instruction": "Add.", "input": "", "output": "3 [}\" \\"})";
  const std::string two = R"({"instruction": "Say\n", "input": "x, y", "output": "ü", "score": 1})";
  const std::string lines = one + "\n" + two + "\n";
  const auto expected = read_documents(write("a.jsonl", lines));
  ASSERT_EQ(expected.size(), 2U);
  const struct {
    const char* name;
    std::string text;
  } forms[] = {
      {"a.JSONL", lines},
      {"a.ndjson", lines},
      {"a.json", lines},
      {"a.txt", lines},
      {"mark.jsonl", "\xEF\xBB\xBF" + lines},
      {"array.json", "[" + one + "," + two + "]"},
      {"array.txt", " [\n " + one + " ,\n\n" + two + "\n]\n"},
      {"dolly.jsonl",
       "{\"context\": null, \"instruction\": \"Add.\", \"response\": \"3 [}\\\" \\\\\"}\n"
       "{\"instruction\": \"Say\\n\", \"context\": \"x, y\", \"response\": \"ü\", \"text\": null}\n"}};
  for (const auto& form : forms) {
    const auto found = read_documents(write(form.name, form.text));
    ASSERT_EQ(found.size(), expected.size()) << form.name;
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].text, expected[i].text) << form.name;
      EXPECT_EQ(answer_of(found[i]), answer_of(expected[i])) << form.name;
    }
  }
}

TEST_F(TextFiles, NullInputIsNoInput) {
  const auto with_null =
      read_documents(write("a.jsonl", "{\"instruction\": \"Add.\", \"input\": null, \"output\": \"3\"}\n"));
  const auto with_empty =
      read_documents(write("b.jsonl", "{\"instruction\": \"Add.\", \"input\": \"\", \"output\": \"3\"}\n"));
  EXPECT_EQ(with_null[0].text, with_empty[0].text);
}

TEST_F(TextFiles, PromptAndCompletionAreOneTextWithTheCompletionLearned) {
  const auto documents =
      read_documents(write("a.jsonl", "{\"prompt\": \"Two and two is\", \"completion\": \" four\"}\n"));
  EXPECT_EQ(documents[0].text, "Two and two is four");
  EXPECT_EQ(answer_of(documents[0]), " four");
}

TEST_F(TextFiles, ProseThatLooksLikeJsonIsText) {
  for (const char* text : {"[1] A note.\n", "{a set} of things\n", "{\n  \"not\": \"rows\"\n}\n and prose"}) {
    EXPECT_EQ(texts_of(write("a.txt", text)), Texts{text});
  }
}

TEST_F(TextFiles, AByteOrderMarkIsNoText) {
  EXPECT_EQ(texts_of(write("a.txt", "\xEF\xBB\xBFGrüße\n")), Texts{"Grüße\n"});
  EXPECT_EQ(whole(write("b.txt", "\xEF\xBB\xBFGrüße\n")), "Grüße\n");
}

TEST_F(TextFiles, OtherKindsOfFileAreNamedWithWhatToDo) {
  using std::string_view_literals::operator""sv;
  const std::string tar = "rows.jsonl" + std::string(247, '\0') + "ustar";
  const struct {
    std::string_view bytes;
    const char* name;
    const char* advice;
  } kinds[] = {
      {"PAR1\x15\x04PAR1"sv, "Parquet", "read_parquet"},
      {"PK\x03\x04\x14"sv, "zip", "unzip"},
      {"\xff\xfe\0\0h\0\0\0"sv, "UTF-32", "iconv -f UTF-32"},
      {"BZh91AY"sv, "bzip2", "bunzip2"},
      {"\xff\xff\xff\xff\x10\x01\0\0"sv, "Arrow", "from_file"},
      {"\x80\x04\x95\x10"sv, "pickle", "JSON lines"},
      {"\x89HDF\r\n\x1a\n"sv, "HDF5", "JSON lines"},
      {"rows.txt\0\0\0\xb1\x02\0ustar"sv, "a binary file", "JSON lines"},
      {tar, "tar archive", "tar -xf"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"sv, "git-lfs", "git lfs pull"},
  };
  for (const auto& kind : kinds) {
    for (const char* file : {"a.txt", "a.jsonl"}) {  // by content, whatever the name
      const std::string error = error_of(file, kind.bytes);
      EXPECT_NE(error.find(kind.name), std::string::npos) << error;
      EXPECT_NE(error.find(kind.advice), std::string::npos) << error;
    }
  }
}

TEST_F(TextFiles, TablesAreNoText) {
  for (const char* name : {"a.csv", "a.TSV"}) {
    const std::string error = error_of(name, "instruction,output\nSay it,it\n");
    EXPECT_NE(error.find("a table"), std::string::npos) << error;
    EXPECT_NE(error.find("read_csv"), std::string::npos) << error;
  }
}

TEST_F(TextFiles, ReadTextChangesNothing) {
  const std::string text = " a\r\n<|endoftext|>\n\n b \n";
  EXPECT_EQ(whole(write("a.txt", text)), text);
}

TEST_F(TextFiles, ErrorsNameFileAndLine) {
  struct Case {
    const char* name;
    std::string_view text;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"broken.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", "broken.jsonl:2"},
      {"array.jsonl", "[1]\n", "array.jsonl:1: expected a JSON object, one a line, found array"},
      {"missing.jsonl", "{\"text\": \"a\"}\n\n{\"content\": \"b\"}\n",
       "missing.jsonl:3: found the keys \"content\"; rows that are read: {\"text\"}, {\"instruction\""},
      {"two.jsonl", "{\"text\": \"a\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n",
       "two.jsonl: line 1 is {\"text\"}, line 2 is {\"prompt\""},
      {"lines.txt", "{\"id\": 5}\n", "lines.txt:1: found the keys \"id\""},
      {"several.json", "{\n\"text\": \"a\",\n\"b\": tru\n}\n", "several.json:1: not valid JSON"},
      {"first.jsonl", "{\"text\": \n{\"text\": \"b\"}\n", "first.jsonl:1: not valid JSON"},
      {"first.json", "{\"text\": \"a\", }\n{\"text\": \"b\"}\n", "first.json:1: not valid JSON"},
      {"cut_object.json", "{\n\"text\": \"a\"\n", "cut_object.json: the last JSON object has no end"},
      {"two_lists.json", "{\"train\": [{\"text\": \"a\"}], \"test\": [{\"text\": \"a\"}]}",
       "two_lists.json:1: found the keys \"test\", \"train\""},
      {"after.json", "{\"data\": [{\"text\": \"a\"}]}\n{\"text\": \"b\"}\n",
       "after.json:1: found the keys \"data\""},
      {"within.json", "{\"data\": [{\"text\": \"a\"},\n{\"text\": 5}]}", "within.json:2: key \"text\""},
      {"same_line.json", "[{\"text\": \"a\"}, {\"id\": 5}]",
       "same_line.json:1: row 2: found the keys \"id\""},
      {"strings.json", "[\n\"a\",\n\"b\"\n]",
       "strings.json:2: expected a JSON object, one a line, found string"},
      {"turn.json", "[{\"role\": \"user\", \"content\": \"a\"}]", "A message is no row"},
      {"row.json", "[{\"text\": \"a\"},\n\n{\"id\": 1}]", "row.json:3: found the keys \"id\""},
      {"cut.json", "[{\"text\": \"a\"},\n{\"text\": \"b", "cut.json: the JSON array"},
      {"behind.json", "[{\"text\": \"a\"}] x", "behind.json:1: not valid JSON: something follows"},
      {"number.jsonl", "{\"text\": 5}\n", "number.jsonl:1: key \"text\" has an unexpected value 5"},
      {"empty.jsonl", "\n\n", "empty.jsonl: no text"},
      {"blank.jsonl", "{\"text\": \" \"}\n", "blank.jsonl: no text"},
      {"empty.txt", "", "empty.txt: no text"},
      {"blank.txt", " \n<|endoftext|>\n\t\n", "blank.txt: no text"},
      {"latin1.txt",
       "fine\nGr\xfc\xdf"
       "e\n",
       "latin1.txt:2: not UTF-8"},
      {"latin1.jsonl",
       "{\"text\": \"Gr\xfc\xdf"
       "e\"}\n",
       "latin1.jsonl:1: not UTF-8"},
  };
  for (const Case& c : cases) {
    EXPECT_NE(error_of(c.name, c.text).find(c.expected), std::string::npos) << error_of(c.name, c.text);
  }
}

TEST_F(TextFiles, MissingFilesAndFoldersAreErrors) {
  EXPECT_THROW(read_documents(folder_.path() / "none.txt"), Error);
  EXPECT_THROW(read_documents(folder_.path()), Error);
  EXPECT_THROW(whole(write("empty.txt", "")), Error);
}

}  // namespace
}  // namespace lrqat::corpus
