// Tokenizer files of all kinds: what they must do on text, and what is said of broken or unknown ones.
#include "lrqat/text/tokenizer.h"

#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/base/random.h"
#include "tests/formats/test_files.h"
#include "tests/text/fixtures.h"

namespace lrqat::text {
namespace {

using formats::TemporaryFolder;

// A Llama-3 like tokenizer of single bytes, a few merges, added tokens and a template.
Json small_tokenizer() {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    static int next = 0;
    if (byte == 0) next = 0x100;
    const int character = printable ? byte : next++;
    std::string piece;
    if (character < 0x80)
      piece = {static_cast<char>(character)};
    else
      piece = {static_cast<char>(0xC0 | character >> 6), static_cast<char>(0x80 | (character & 0x3F))};
    vocab[piece] = byte;
  }
  vocab["he"] = 256;
  vocab["ll"] = 257;
  vocab["hell"] = 258;
  vocab["hello"] = 259;
  vocab["Ġhe"] = 260;
  vocab["whole"] = 261;
  Json added = Json::array();
  added.push_back({{"id", 262}, {"content", "<s>"}, {"special", true}, {"normalized", false}});
  added.push_back({{"id", 263}, {"content", "<tool>"}, {"special", false}, {"normalized", false}});
  const Json merges = {"h e", "l l", "he ll", {"hell", "o"}, "Ġ he"};
  const Json single = {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                       {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", single},
            {"pair", single},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {262}}, {"tokens", {"<s>"}}}}}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}, {"ignore_merges", true}}}};
}

Tokenizer load(const TemporaryFolder& folder, const Json& json) {
  return load_tokenizer_json(folder.write("tokenizer.json", json.dump()));
}

TEST(TokenizerJson, MergesAddedTokensAndTemplate) {
  const TemporaryFolder folder;
  const Tokenizer tokenizer = load(folder, small_tokenizer());
  EXPECT_EQ(tokenizer.encode("hello he", false), (Ids{259, 260}));
  EXPECT_EQ(tokenizer.encode("hello"), (Ids{262, 259})) << "the template puts <s> in front";
  EXPECT_EQ(tokenizer.encode("whole", false), (Ids{261})) << "ignore_merges: a whole piece needs no merges";
  EXPECT_EQ(tokenizer.encode("he<tool>he", false), (Ids{256, 263, 256}));
  EXPECT_EQ(tokenizer.decode(Ids{262, 259, 260}, true), "hello he");
  EXPECT_EQ(tokenizer.decode(Ids{262, 259}, false), "<s>hello");
  EXPECT_TRUE(tokenizer.is_special(262));
  EXPECT_FALSE(tokenizer.is_special(263));
  EXPECT_EQ(tokenizer.vocab_size(), 264);
}

TEST(TokenizerJson, InvalidUtf8CountsAsReplacementCharacter) {
  const TemporaryFolder folder;
  const Tokenizer tokenizer = load(folder, small_tokenizer());
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\xFF\xFE z", false)), "a\uFFFD\uFFFD z");
}

struct Broken {
  const char* name;
  void (*change)(Json&);
  const char* message;
};

class BrokenTokenizer : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenTokenizer, IsRefusedWithOneClearMessage) {
  const TemporaryFolder folder;
  Json json = small_tokenizer();
  EXPECT_NO_THROW(load(folder, json)) << "negative control: unchanged it loads";
  GetParam().change(json);
  try {
    load(folder, json);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("tokenizer.json"), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, BrokenTokenizer,
    ::testing::Values(
        Broken{"top_key", [](Json& j) { j["unheard_of"] = 1; }, "key \"unheard_of\" is not known"},
        Broken{"model_type", [](Json& j) { j["model"]["type"] = "WordPiece"; },
               "type \"WordPiece\" is not supported"},
        Broken{"unigram_vocab",
               [](Json& j) {
                 j["model"] = {{"type", "Unigram"}, {"vocab", Json::object()}};
               },
               "no list of pieces and scores"},
        Broken{"unigram_piece",
               [](Json& j) {
                 j["model"] = {{"type", "Unigram"}, {"vocab", Json::array({Json::array({"a", "b"})})}};
               },
               "is no [piece, score]"},
        Broken{"unigram_unknown",
               [](Json& j) {
                 j["model"] = {
                     {"type", "Unigram"}, {"unk_id", 7}, {"vocab", Json::array({Json::array({"a", 0.0})})}};
               },
               "unk_id 7"},
        Broken{"model_option", [](Json& j) { j["model"]["magic"] = true; }, "option \"magic\" is not known"},
        Broken{"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, "option \"dropout\""},
        Broken{"pre_tokenizer", [](Json& j) { j["pre_tokenizer"]["type"] = "Bert"; },
               "type \"Bert\" is not supported"},
        Broken{"normalizer",
               [](Json& j) {
                 j["normalizer"] = {{"type", "Odd"}};
               },
               "type \"Odd\" is not supported"},
        Broken{"decoder", [](Json& j) { j["decoder"]["type"] = "CTC"; }, "type \"CTC\" is not supported"},
        Broken{"post_processor", [](Json& j) { j["post_processor"]["type"] = "X"; },
               "type \"X\" is not supported"},
        Broken{"merge_unknown", [](Json& j) { j["model"]["merges"].push_back("q zz"); }, "does not have"},
        Broken{"merge_form", [](Json& j) { j["model"]["merges"].push_back("q z z"); }, "not two pieces"},
        Broken{"duplicate_id", [](Json& j) { j["model"]["vocab"]["double"] = 5; }, "id 5 is given to both"},
        Broken{"negative_id", [](Json& j) { j["model"]["vocab"]["minus"] = -1; }, "id -1"},
        Broken{"id_type", [](Json& j) { j["model"]["vocab"]["text"] = "7"; }, "no whole number"},
        Broken{"added_conflict", [](Json& j) { j["added_tokens"][0]["content"] = "he"; },
               "the vocabulary gives it 256"},
        Broken{"template_token", [](Json& j) { j["post_processor"]["special_tokens"] = Json::object(); },
               "\"<s>\" is missing"},
        Broken{"template_id", [](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"] = {9999}; },
               "9999"},
        Broken{"no_model", [](Json& j) { j.erase("model"); }, "\"model\" is missing"}),
    [](const auto& info) { return std::string(info.param.name); });

// Each step doubles the text: forty of them would fill any memory.
TEST(TokenizerJson, NormalizersThatMultiplyTheTextAreStopped) {
  const TemporaryFolder folder;
  Json json = small_tokenizer();
  Json steps = Json::array();
  for (int i = 0; i < 40; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "e"}}}, {"content", "ee"}});
  }
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const Tokenizer tokenizer = load(folder, json);
  try {
    tokenizer.encode("hello");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("multiply the text"), std::string::npos) << error.what();
  }
}

// A protobuf field of wire type 2, and the smallest SentencePiece model.
std::string field(int number, const std::string& bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}
std::string varint(int number, int value) {
  return {static_cast<char>(number << 3), static_cast<char>(value)};
}

TEST(SentencePiece, BrokenFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string pieces = field(1, field(1, "<unk>") + varint(3, 2)) + field(1, field(1, "a"));
  const struct {
    std::string bytes;
    const char* message;
  } cases[] = {
      {"", "not a SentencePiece model"},
      {"hello world, this is text", "SentencePiece model"},
      {pieces, "no trainer_spec"},
      {pieces + field(2, varint(3, 1)), "unigram"},
      {(pieces + field(2, varint(3, 2))).substr(0, 9), "cut off"},
      {pieces + field(2, varint(3, 2)) + field(3, field(1, "nmt_nfkc") + field(2, "xyz")), "nmt_nfkc"},
      {field(1, field(1, "a") + varint(3, 9)) + field(2, varint(3, 2)), "type 9"},
  };
  EXPECT_NO_THROW(load_sentencepiece_model(folder.write("m.model", pieces + field(2, varint(3, 2)))));
  for (const auto& row : cases) {
    try {
      load_sentencepiece_model(folder.write("m.model", row.bytes));
      ADD_FAILURE() << "no error, expected " << row.message;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(row.message), std::string::npos) << error.what();
    }
  }
}

TEST(GgufVocabularies, UnknownKindsAreRefused) {
  GgufVocabulary vocabulary = read_vocabulary(fixture("gpt-neox.gguf"));
  EXPECT_NO_THROW(tokenizer_from_vocabulary(vocabulary));
  vocabulary.pre = "martian";
  EXPECT_THROW(tokenizer_from_vocabulary(vocabulary), Error);
  vocabulary.pre = "gpt-2";
  vocabulary.model = "wordpiece";
  EXPECT_THROW(tokenizer_from_vocabulary(vocabulary), Error);
  vocabulary.model = "gpt2";
  vocabulary.token_types.pop_back();
  EXPECT_THROW(tokenizer_from_vocabulary(vocabulary), Error);
}

TEST(LoadTokenizer, AFolderWithoutOneSaysWhatItLookedFor) {
  const TemporaryFolder folder;
  try {
    load_tokenizer(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("looked for tokenizer.json"), std::string::npos);
  }
}

// Random text: pieces of several scripts, white space, digits and punctuation.
std::string random_text(Random& random) {
  static const char* const kParts[] = {
      "the",     " quick", "\n",    "  ",      "\t",     "123",    "4,567",
      "’s",      "'re",    "naïve", "Ünïcödé", "日本語", "한국어", "👩‍👩‍👧",
      "e\u0301", "مرحبا",  "_",     "--",      "{x: y}", "\r\n",   "   end"};
  std::string text;
  for (std::uint64_t i = random.below(24); i > 0; --i) text += kParts[random.below(std::size(kParts))];
  return text;
}

void check_round_trips(const Tokenizer& tokenizer) {
  Random random(11);
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_text(random);
    const Ids ids = tokenizer.encode(text, false);
    EXPECT_EQ(tokenizer.decode(ids), text);
    TokenStream stream(tokenizer, false);
    std::string streamed;
    for (const std::int32_t id : ids) streamed += stream.add(id);
    streamed += stream.finish();
    EXPECT_EQ(streamed, tokenizer.decode(ids));
  }
}

TEST(RoundTrip, ByteLevel) {
  check_round_trips(load_gpt2_files(fixture("encoder.json"), fixture("vocab.bpe")));
}
TEST(RoundTrip, SentencePieceWithByteFallback) {
  check_round_trips(load_sentencepiece_model(fixture("mistral/v1.model")));
}

TEST(TokenStream, HoldsBackTheBytesOfAnUnfinishedCharacter) {
  const Tokenizer tokenizer = load_gpt2_files(fixture("encoder.json"), fixture("vocab.bpe"));
  const Ids ids = tokenizer.encode("👩", false);
  ASSERT_GT(ids.size(), 1U) << "an emoji is several tokens in GPT-2";
  TokenStream stream(tokenizer);
  std::string early;
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) early += stream.add(ids[i]);
  EXPECT_EQ(early, "");
  EXPECT_EQ(stream.add(ids.back()), "👩");
}

}  // namespace
}  // namespace lrqat::text
