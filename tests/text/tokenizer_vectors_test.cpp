// Published vectors: text and the ids that the tokenizers' own programs give (tests/data/text/README.md).
#include <gtest/gtest.h>

#include <filesystem>

#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/text/tokenizer.h"
#include "tests/text/fixtures.h"

namespace lrqat::text {
namespace {

std::vector<std::string> vector_strings() {
  std::vector<std::string> out;
  const std::string text = read_text_file(fixture("ggml-vocab.inp")), separator = "\n__ggml_vocab_test__\n";
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  return out;
}

std::vector<Ids> vector_ids(const std::string& name) {
  std::vector<Ids> out;
  std::istringstream lines(read_text_file(fixture(name)));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    out.emplace_back(std::istream_iterator<std::int32_t>(words), std::istream_iterator<std::int32_t>());
  }
  return out;
}

// How many of the vectors `tokenizer` gives.
std::size_t matching(const Tokenizer& tokenizer, const std::vector<Ids>& expected, bool report) {
  const auto texts = vector_strings();
  EXPECT_GE(texts.size(), 46U);
  std::size_t count = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Ids wanted = i < expected.size() ? expected[i] : Ids{};  // the empty text's line may be missing
    const Ids ids = tokenizer.encode(texts[i], false);
    if (report) {
      EXPECT_EQ(ids, wanted) << "text " << i << ": " << texts[i];
    }
    count += ids == wanted ? 1 : 0;
  }
  return count;
}

TEST(TokenizerVectors, Gpt2Files) {
  const Tokenizer tokenizer = load_gpt2_files(fixture("encoder.json"), fixture("vocab.bpe"));
  EXPECT_EQ(matching(tokenizer, vector_ids("gpt-2.out"), true), vector_strings().size());
  EXPECT_LT(matching(tokenizer, vector_ids("mpt.out"), false), 10U)
      << "negative control: another vocabulary's ids";
  EXPECT_EQ(tokenizer.eos_token_id(), 50256);
  EXPECT_EQ(tokenizer.encode("a<|endoftext|>b", true), (Ids{64, 50256, 65}));
}

TEST(TokenizerVectors, GptNeoxVocabularyFromGguf) {
  const Tokenizer tokenizer = tokenizer_from_vocabulary(read_vocabulary(fixture("gpt-neox.gguf")));
  EXPECT_EQ(matching(tokenizer, vector_ids("mpt.out"), true), vector_strings().size());
}

TEST(TokenizerVectors, Gpt2ThroughItsOwnGgufVocabulary) {
  const Tokenizer tokenizer = load_gpt2_files(fixture("encoder.json"), fixture("vocab.bpe"));
  const GgufVocabulary vocabulary = tokenizer.to_gguf(50304);
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "gpt-2");
  EXPECT_EQ(vocabulary.tokens.size(), 50304U);
  EXPECT_TRUE(vocabulary.warnings.empty());
  EXPECT_EQ(matching(tokenizer_from_vocabulary(vocabulary), vector_ids("gpt-2.out"), true),
            vector_strings().size());
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// A chat's text as published: pieces' spaces as U+2581, line ends as <0x0A>. The space that SentencePiece
// puts before each stretch stands in it; encode() puts it there itself. One file has plain spaces
// throughout.
std::string chat_text(const std::filesystem::path& path, bool control_instructions) {
  std::string text = replaced(replaced(read_text_file(path), " ", "▁"), ">▁", ">");
  if (control_instructions) text = replaced(text, "]▁", "]");
  return replaced(replaced(text, "▁", " "), "<0x0A>", "\n");
}

class MistralVectors : public ::testing::TestWithParam<std::string> {};

TEST_P(MistralVectors, EveryChatGivesThePublishedIds) {
  const std::string version = GetParam();
  const Tokenizer tokenizer = load_sentencepiece_model(fixture("mistral/" + version + ".model"));
  int chats = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fixture("mistral"))) {
    if (!entry.path().string().ends_with("." + version + ".txt")) continue;
    std::filesystem::path expected = entry.path();
    expected.replace_extension(".json");
    const Ids ids = tokenizer.encode(chat_text(entry.path(), version != "v1"), false);
    EXPECT_EQ(ids, read_json_file(expected).at("tokens").get<Ids>()) << entry.path();
    ++chats;
  }
  EXPECT_EQ(chats, version == "v1" ? 1 : 6);
}

INSTANTIATE_TEST_SUITE_P(Versions, MistralVectors, ::testing::Values("v1", "v2", "v3"),
                         [](const auto& info) { return info.param; });

TEST(TokenizerVectors, Stories260K) {
  const std::filesystem::path folder = std::filesystem::path(LRQAT_TEST_DATA) / "model/stories260K";
  const Tokenizer tokenizer = load_llama2c_tokenizer(folder / "tok512.bin");
  const std::string text = read_text_file(folder / "nll_text.txt");
  const Ids ids = tokenizer.encode(text);
  EXPECT_EQ(ids.size(), 91U);
  EXPECT_EQ(Ids(ids.begin(), ids.begin() + 12),
            (Ids{1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 400, 428}));
  EXPECT_EQ(tokenizer.decode(ids, true), text);
}

TEST(TokenizerVectors, BabyLlamaWithoutByteFallback) {
  const Tokenizer tokenizer = load_sentencepiece_model(fixture("tok105.model"));
  const Ids ids = tokenizer.encode(
      read_text_file(std::filesystem::path(LRQAT_TEST_DATA) / "model/stories260K/nll_text.txt"));
  EXPECT_EQ(ids.size(), 237U);
  EXPECT_EQ(Ids(ids.begin(), ids.begin() + 12), (Ids{1, 3, 34, 9, 22, 4, 3, 18, 20, 7, 9, 3}));
  EXPECT_EQ(tokenizer.encode("日本語", false), (Ids{3, 0})) << "a run of unknown characters is one token";
}

}  // namespace
}  // namespace lrqat::text
