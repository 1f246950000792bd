// Documents as tokens, and which of them are scored.
#include "lrqat/corpus/tokenized_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "lrqat/corpus/read_data.h"
#include "tests/corpus/test_data.h"

namespace lrqat::corpus {
namespace {

class Tokens : public DataFolder {
 protected:
  Tokens() : tokenizer_(make()) {}

  static text::Tokenizer make() {
    const auto texts = std::filesystem::path(LRQAT_TEST_DATA) / "text";
    return text::load_gpt2_files(texts / "encoder.json", texts / "vocab.bpe");
  }
  // The scored parts of the document, as text.
  std::vector<std::string> scored(const Document& document) const {
    const TokenizedDocument tokens = tokenize(document, tokenizer_);
    EXPECT_EQ(tokens.tokens.size(), tokens.scored.size());
    std::vector<std::string> parts;
    std::vector<std::int32_t> part;
    for (std::size_t i = 0; i <= tokens.tokens.size(); ++i) {
      if (i < tokens.tokens.size() && tokens.scored[i] != 0) {
        part.push_back(tokens.tokens[i]);
      } else if (!part.empty()) {
        parts.push_back(tokenizer_.decode(std::exchange(part, {})));
      }
    }
    return parts;
  }
  TokenizedText training(const std::vector<std::string>& data) const {
    SilentProgress silent;
    return read_training_text(data, tokenizer_, {}, silent);
  }
  TokenizedText evaluation(const std::string& data) const {
    SilentProgress silent;
    return read_evaluation_text(data, tokenizer_, {}, silent);
  }

  text::Tokenizer tokenizer_;
};

using Parts = std::vector<std::string>;

// Tokens that lie across borders, in texts where the first part alone has other tokens than within the whole.
TEST_F(Tokens, BordersThatNoTokenHasAreFound) {
  EXPECT_EQ(scored({"two\n\nUser", {{0, 5}}}), Parts{"two\n\n"});
  EXPECT_EQ(scored({"two\n\nUser", {{5, 9}}}), Parts{"User<|endoftext|>"});
  EXPECT_EQ(scored({"a 😀🤖 b", {{2, 6}}}), Parts{" 😀"});
  const std::string emoji = "a 😀🤖 b";
  for (std::size_t begin = 0; begin < emoji.size(); ++begin) {
    const TokenizedDocument one = tokenize({emoji, {{begin, begin + 1}}}, tokenizer_);
    EXPECT_GT(std::count(one.scored.begin(), one.scored.end(), 1), 0) << begin;
  }
}

// SentencePiece's tokens, with BOS in front; and those of tokenizers that normalize, found by prefixes.
TEST_F(Tokens, OtherTokenizersMaskTheSameText) {
  const auto texts = std::filesystem::path(LRQAT_TEST_DATA) / "text";
  const text::Tokenizer pieces = text::load_sentencepiece_model(texts / "tok105.model");
  const Document document{"One day a dog ran. It was big.", {{7, 13}, {19, 30}}};
  const TokenizedDocument tokens = tokenize(document, pieces);
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < tokens.tokens.size(); ++i) {
    if (tokens.scored[i] != 0) ids.push_back(tokens.tokens[i]);
  }
  EXPECT_EQ(tokens.scored.front(), 0);
  EXPECT_EQ(tokens.scored.back(), 1);
  const std::string text = pieces.decode(ids, /*skip_special_tokens=*/true);
  EXPECT_EQ(text, "a dogIt was big.");  // spaces are tokens
}

// Keeps what a library says.
class Messages final : public ProgressReporter {
 public:
  void start(std::string_view, std::int64_t) override {}
  void update(std::int64_t, std::string_view) override {}
  void finish() override {}
  void message(std::string_view line) override { all += std::string(line) + "\n"; }
  std::string all;
};

TEST_F(Tokens, SpansAreScoredWithTheTokensAcrossTheirBorders) {
  const std::string text = "one two three four";
  EXPECT_EQ(scored({text, {}}), Parts{text + "<|endoftext|>"});
  EXPECT_EQ(scored({text, {{0, 3}}}), Parts{"one"});
  EXPECT_EQ(scored({text, {{4, 7}}}), Parts{" two"});  // the space is of the same token
  EXPECT_EQ(scored({text, {{5, 7}}}), Parts{" two"});
  EXPECT_EQ(scored({text, {{3, 5}}}), Parts{" two"});
  EXPECT_EQ(scored({text, {{3, 7}, {13, 18}}}), (Parts{" two", " four<|endoftext|>"}));
  EXPECT_EQ(scored({text, {{18, 18}}}), Parts{"<|endoftext|>"});
}

TEST_F(Tokens, ConversationsScoreTheirAnswers) {
  const auto path = write(
      "a.jsonl",
      R"({"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]})");
  EXPECT_EQ(scored(read_documents(path).at(0)), (Parts{" two\n\n", " four<|endoftext|>"}));
}

TEST_F(Tokens, EveryFormOfAFileGivesTheSameTokens) {
  const std::string rows =
      "{\"instruction\": \"Add ü.\", \"output\": \"3\"}\n{\"instruction\": \"Greet.\", \"input\": null, "
      "\"output\": \"Hi 😀\"}\n";
  const TokenizedText plain = training({write("a.jsonl", rows)});
  EXPECT_EQ(plain.scored.size(), plain.tokens.size());
  for (const auto& bytes : {gzip(rows), xz(rows), zstd(rows), little(rows), gzip(big(rows)), windows(rows)}) {
    const std::string path = write("b", bytes);
    EXPECT_EQ(training({path}).tokens, plain.tokens);
    EXPECT_EQ(training({path}).scored, plain.scored);
    EXPECT_EQ(evaluation(path).tokens, plain.tokens);
    EXPECT_EQ(evaluation(path).scored, plain.scored);
  }
}

TEST_F(Tokens, TextsToMeasureOnAreOneText) {
  EXPECT_EQ(evaluation(write("a.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"c\"}\n")).tokens,
            tokenizer_.encode("a b\n\nc"));
  EXPECT_EQ(evaluation(write("b.txt", "a\n<|endoftext|>\nb\n")).tokens,
            tokenizer_.encode("a\n<|endoftext|>\nb\n"));
  write("d/1.txt", "a");
  write("d/2.txt.gz", gzip("b"));
  EXPECT_EQ(evaluation(folder_.path() / "d").tokens, tokenizer_.encode("a\n\nb"));
  EXPECT_THROW(evaluation((folder_.path() / "d/1.txt=2").string()), UsageError);
}

TEST_F(Tokens, FilesKeepTheirWeights) {
  const std::string a = write("a.txt", "one two"), b = write("b.txt", "three");
  const TokenizedText text = training({a + "=3", b});
  ASSERT_EQ(text.stretches.size(), 2U);
  EXPECT_EQ(text.stretches[0].begin, 0U);
  EXPECT_EQ(text.stretches[0].weight, 3.0);
  EXPECT_EQ(text.stretches[1].begin, training({a}).tokens.size());
  EXPECT_EQ(text.stretches[1].weight, 1.0);
  EXPECT_EQ(text.tokens, training({a, b}).tokens);
  EXPECT_TRUE(training({a, b}).stretches.empty());
}

TEST_F(Tokens, UsersAreToldWhatIsNotRead) {
  write("d/a.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": "
        "\"a\"}]}\n"
        "{\"messages\": []}\n");
  write("d/README.md", "");
  Messages messages;
  read_training_text({folder_.path() / "d"}, tokenizer_, {}, messages);
  for (const char* expected : {"no data files by their names: README.md",
                               "a.jsonl: 1 of 2 rows have nothing to learn", "no chat template is used"})
    EXPECT_NE(messages.all.find(expected), std::string::npos) << messages.all;
  Messages none;
  read_training_text({write("b.txt", "a")}, tokenizer_, {}, none);
  EXPECT_EQ(none.all, "");
}

}  // namespace
}  // namespace lrqat::corpus
