// Text files to documents with their error messages, and packing of tokens into sequences.
#include "lrqat/data/dataset.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/text/tokenizer.h"
#include "tests/model/fixtures.h"

namespace lrqat::data {
namespace {

using Documents = std::vector<std::string>;

class TextFiles : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, std::string_view text) const {
    write_text_file(folder_.path() / name, text);
    return folder_.path() / name;
  }

  std::string error_of(const std::string& name, std::string_view text) const {
    try {
      read_documents(write(name, text));
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  model::testing::TemporaryFolder folder_;
};

TEST_F(TextFiles, PlainTextIsOneDocument) {
  EXPECT_EQ(read_documents(write("a.txt", "Grüße,\n\nWelt\n")), Documents{"Grüße,\n\nWelt\n"});
}

TEST_F(TextFiles, PlainTextIsCutAtSeparatorLines) {
  const auto path = write(
      "a.txt", "one\ntwo\n<|endoftext|>\nthree <|endoftext|> four\n  <|endoftext|>\r\n\n<|endoftext|>\nend");
  EXPECT_EQ(read_documents(path), (Documents{"one\ntwo\n", "three <|endoftext|> four\n", "end"}));
}

TEST_F(TextFiles, ASeparatorMayBeTheLastLine) {
  EXPECT_EQ(read_documents(write("a.txt", "one\n<|endoftext|>")), Documents{"one\n"});
}

TEST_F(TextFiles, JsonLinesGiveTheirTexts) {
  const auto path =
      write("a.jsonl", "{\"text\": \"a\\nb\", \"id\": 1}\n\n{\"text\": \"\"}\n{\"id\": 2, \"text\": \"ü\"}");
  EXPECT_EQ(read_documents(path), (Documents{"a\nb", "ü"}));
  EXPECT_EQ(read_text(path), "a\nb\n\nü");
}

// The prompts of the Alpaca repository, word for word.
TEST_F(TextFiles, AlpacaExamplesBecomePromptAndAnswer) {
  const auto path = write("a.jsonl",
                          "{\"instruction\": \"Add.\", \"input\": \"1 2\", \"output\": \"3\"}\n"
                          "{\"instruction\": \"Greet.\", \"input\": \"\", \"output\": \"Hi\"}\n"
                          "{\"instruction\": \"Say nothing.\", \"output\": \" \"}\n"
                          "{\"instruction\": \"Greet.\", \"output\": \"Hi\"}\n"
                          "{\"text\": \"plain\", \"instruction\": \"not looked at\"}\n");
  const auto documents = read_training_documents(path);
  ASSERT_EQ(documents.size(), 4U);
  EXPECT_EQ(
      documents[0].text,
      "Below is an instruction that describes a task, paired with an input that provides further context. "
      "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n"
      "### Input:\n1 2\n\n### Response:3");
  EXPECT_EQ(documents[0].text.substr(documents[0].prompt_bytes), "3");
  EXPECT_EQ(
      documents[1].text,
      "Below is an instruction that describes a task. Write a response that appropriately completes the "
      "request.\n\n### Instruction:\nGreet.\n\n### Response:Hi");
  EXPECT_EQ(documents[1].text.substr(documents[1].prompt_bytes), "Hi");
  EXPECT_EQ(documents[2].text, documents[1].text);
  EXPECT_EQ(documents[3].text, "plain");
  EXPECT_EQ(documents[3].prompt_bytes, 0U);
  EXPECT_NE(error_of("b.jsonl", "{\"instruction\": \"Add.\"}").find("b.jsonl:1"), std::string::npos);
}

TEST_F(TextFiles, OnlyAnswersOfInstructionDataAreTargets) {
  const auto texts = std::filesystem::path(LRQAT_TEST_DATA) / "text";
  const auto tokenizer = text::load_gpt2_files(texts / "encoder.json", texts / "vocab.bpe");
  const auto path = write("a.jsonl", "{\"instruction\": \"Tell.\", \"output\": \"One day a dog ran.\"}\n");
  const Document document = read_training_documents(path)[0];
  const auto answer = tokenizer.encode(document.text.substr(document.prompt_bytes));
  const auto end = static_cast<std::int64_t>(tokenizer.eos_token_id().has_value());
  const auto length = static_cast<std::int64_t>(tokenizer.encode(document.text).size()) + end;
  const auto scored = static_cast<std::int64_t>(answer.size()) + end;
  SilentProgress silent;
  const auto dataset = PackedDataset::from_files({path}, tokenizer, length, silent);
  const std::int64_t first = 0;
  const at::Tensor tokens = dataset.batch({&first, 1})[0], targets = dataset.targets({&first, 1})[0];
  EXPECT_TRUE(targets.slice(0, 0, length - scored).eq(kNotScored).all().item<bool>());
  EXPECT_TRUE(at::equal(targets.slice(0, length - scored), tokens.slice(0, length - scored)));
  const at::Tensor expected = at::tensor(std::vector<std::int64_t>(answer.begin(), answer.end()));
  EXPECT_TRUE(at::equal(targets.slice(0, length - scored, length - end), expected));
}

TEST_F(TextFiles, ReadTextChangesNothing) {
  const std::string text = " a\r\n<|endoftext|>\n\n b \n";
  EXPECT_EQ(read_text(write("a.txt", text)), text);
}

TEST_F(TextFiles, ErrorsNameFileAndLine) {
  struct Case {
    const char* name;
    std::string_view text;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"broken.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", "broken.jsonl:2"},
      {"array.jsonl", "[1]\n", "array.jsonl:1: expected a JSON object with a \"text\", found array"},
      {"missing.jsonl", "{\"text\": \"a\"}\n\n{\"content\": \"b\"}\n",
       "missing.jsonl:3: key \"text\" is missing"},
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
  EXPECT_THROW(read_text(write("empty.txt", "")), Error);
}

std::vector<std::int32_t> counting(std::size_t count) {
  std::vector<std::int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TEST(PackedDataset, CutsEqualSequencesAndDropsTheRest) {
  const PackedDataset dataset(counting(14), 4);
  EXPECT_EQ(dataset.size(), 3);
  EXPECT_EQ(dataset.sequence_length(), 4);
  const at::Tensor batch = dataset.batch(std::vector<std::int64_t>{2, 0, 2});
  const at::Tensor expected = at::tensor({8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11}, at::kLong).view({3, 4});
  EXPECT_TRUE(at::equal(batch, expected));
}

TEST(PackedDataset, RefusesTooLittle) {
  EXPECT_THROW(PackedDataset(counting(3), 4), Error);
  EXPECT_THROW(PackedDataset({}, 4), Error);
  EXPECT_THROW(PackedDataset(counting(3), 1), UsageError);
  EXPECT_EQ(PackedDataset(counting(4), 4).size(), 1);
}

TEST(PackedDataset, RefusesIndicesOutside) {
  const PackedDataset dataset(counting(8), 4);
  EXPECT_THROW(dataset.batch(std::vector<std::int64_t>{2}), InternalError);
  EXPECT_THROW(dataset.batch(std::vector<std::int64_t>{-1}), InternalError);
}

TEST(PackedDataset, TargetsLeaveOutWhatIsNotScored) {
  const PackedDataset dataset(counting(6), 3, {0, 0, 1, 1, 0, 1});
  const std::vector<std::int64_t> order{1, 0};
  const at::Tensor expected = dataset.batch(order), targets = dataset.targets(order);
  expected[0][1] = kNotScored;
  expected[1][0] = expected[1][1] = kNotScored;
  EXPECT_TRUE(at::equal(targets, expected));
  EXPECT_NE(dataset.fingerprint(), PackedDataset(counting(6), 3).fingerprint());
  const PackedDataset plain(counting(6), 3);
  EXPECT_TRUE(at::equal(plain.targets(order), plain.batch(order)));
}

TEST(PackedDataset, FingerprintTellsTokensAndLengthApart) {
  auto other = counting(8);
  other[7] = 100;
  const PackedDataset dataset(counting(8), 4);
  EXPECT_EQ(dataset.fingerprint(), PackedDataset(counting(8), 4).fingerprint());
  EXPECT_EQ(dataset.fingerprint(), PackedDataset(counting(10), 4).fingerprint());  // the rest is never seen
  EXPECT_NE(dataset.fingerprint(), PackedDataset(counting(8), 2).fingerprint());
  EXPECT_NE(dataset.fingerprint(), PackedDataset(other, 4).fingerprint());
}

}  // namespace
}  // namespace lrqat::data
