// SentencePiece's tokenizer.model (protobuf ModelProto of sentencepiece_model.proto, read by hand: a handful
// of fields) and llama2.c's tokenizer.bin.
#include <bit>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/user_text.h"
#include "lrqat/text/loaders.h"
#include "lrqat/text/pipeline.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::text {
namespace {

// A reader of protobuf's wire format over one message.
class Message {
 public:
  Message(std::string_view data, const std::string& where) : rest_(data), where_(where) {}

  // The next field; false at the end.
  bool next() {
    if (rest_.empty()) return false;
    const std::uint64_t tag = varint();
    number_ = static_cast<int>(tag >> 3);
    const int type = static_cast<int>(tag & 7U);
    value_ = 0;
    bytes_ = {};
    if (type == 0)
      value_ = varint();
    else if (type == 1)
      bytes_ = take(8);
    else if (type == 2)
      bytes_ = take(varint());
    else if (type == 5)
      bytes_ = take(4);
    else
      fail(where_, ": not a SentencePiece model (protobuf wire type ", type, ")");
    return true;
  }
  int number() const { return number_; }
  std::uint64_t integer() const { return value_; }
  std::string_view bytes() const { return bytes_; }
  float real() const {
    if (bytes_.size() != 4) fail(where_, ": not a SentencePiece model (field ", number_, " is no float)");
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes_.data(), 4);
    return std::bit_cast<float>(bits);
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return value;
    }
    fail(where_, ": not a SentencePiece model (a number of more than 64 bits)");
  }
  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) fail(where_, ": the SentencePiece model is cut off or no such model");
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }

  std::string_view rest_;
  const std::string& where_;
  int number_ = 0;
  std::uint64_t value_ = 0;
  std::string_view bytes_;
};

void read_piece(GgufVocabulary& out, std::string_view data, const std::string& where) {
  std::string piece;
  float score = 0;
  auto type = static_cast<std::int32_t>(TokenType::kNormal);
  for (Message message(data, where); message.next();) {
    if (message.number() == 1) piece = message.bytes();
    if (message.number() == 2) score = message.real();
    if (message.number() == 3) type = static_cast<std::int32_t>(message.integer());
  }
  if (type < 1 || type > 6) fail(where, ": piece \"", piece, "\" has type ", type, ", expected 1 to 6");
  out.tokens.push_back(std::move(piece));
  out.scores.push_back(score);
  out.token_types.push_back(type);
}

void read_trainer(GgufVocabulary&, std::string_view data, const std::string& where) {
  constexpr const char* kModels[] = {"", "unigram", "bpe", "word", "char"};
  std::uint64_t type = 1;
  for (Message message(data, where); message.next();) {
    if (message.number() == 3) type = message.integer();
  }
  if (type == 2) return;
  fail(where, ": a SentencePiece model of type ", type < 5 ? kModels[type] : "unknown",
       "; this program reads bpe");
}

void read_normalizer(GgufVocabulary& out, std::string_view data, const std::string& where) {
  bool add_prefix = true, collapse = true, escape = true;
  std::string name, charsmap;
  for (Message message(data, where); message.next();) {
    if (message.number() == 1) name = message.bytes();
    if (message.number() == 2) charsmap = message.bytes();
    if (message.number() == 3) add_prefix = message.integer() != 0;
    if (message.number() == 4) collapse = message.integer() != 0;
    if (message.number() == 5) escape = message.integer() != 0;
  }
  if (!charsmap.empty()) {
    fail(where, ": normalisation ", quote(name),
         " of the SentencePiece model is not supported; \"identity\" is");
  }
  if (!escape) fail(where, ": a SentencePiece model that does not escape spaces is not supported");
  out.add_space_prefix = add_prefix;
  out.remove_extra_whitespaces = collapse;
}

void find_special_tokens(GgufVocabulary& out) {
  for (std::size_t id = 0; id < out.tokens.size(); ++id) {
    const auto token_id = static_cast<std::int32_t>(id);
    if (out.token_types[id] == static_cast<std::int32_t>(TokenType::kUnknown))
      out.unknown_token_id = token_id;
    if (out.token_types[id] != static_cast<std::int32_t>(TokenType::kControl)) continue;
    if (out.tokens[id] == "<s>") out.bos_token_id = token_id;
    if (out.tokens[id] == "</s>") out.eos_token_id = token_id;
    if (out.tokens[id] == "<pad>") out.padding_token_id = token_id;
  }
}

// The number at `offset` of a llama2.c file.
template <typename T>
T number_at(std::string_view data, std::size_t offset, const std::string& where) {
  if (offset + sizeof(T) > data.size())
    fail(where, ": the file ends at byte ", data.size(), " inside a token");
  T value{};
  std::memcpy(&value, data.data() + offset, sizeof(T));
  return value;
}

}  // namespace

GgufVocabulary read_sentencepiece(const std::filesystem::path& path) {
  const std::string data = read_text_file(path), where = path.string();
  GgufVocabulary out;
  out.model = "llama";
  bool has_trainer = false;
  for (Message message(data, where); message.next();) {
    if (message.number() == 1) read_piece(out, message.bytes(), where);
    if (message.number() == 2) read_trainer(out, message.bytes(), where), has_trainer = true;
    if (message.number() == 3) read_normalizer(out, message.bytes(), where);
  }
  if (out.tokens.empty() || !has_trainer)
    fail(where, ": not a SentencePiece model (no pieces or no trainer_spec)");
  find_special_tokens(out);
  return out;
}

Tokenizer load_sentencepiece_model(const std::filesystem::path& path) {
  return Tokenizer(pipeline_from_vocabulary(read_sentencepiece(path), path.string()));
}

// llama2.c: uint32 longest piece, then for each token float32 score, int32 length, bytes. Ids 0 unknown, 1
// BOS, 2 EOS, 3 … 258 bytes; pieces hold a plain space.
Tokenizer load_llama2c_tokenizer(const std::filesystem::path& path) {
  const std::string data = read_text_file(path), where = path.string();
  GgufVocabulary out;
  out.model = "llama";
  for (std::size_t offset = 4; offset < data.size();) {
    out.scores.push_back(number_at<float>(data, offset, where));
    const auto length = number_at<std::int32_t>(data, offset + 4, where);
    offset += 8;
    if (length < 0 || static_cast<std::size_t>(length) > data.size() - offset) {
      fail(where, ": token ", out.tokens.size(), " has ", length, " bytes, ", data.size() - offset,
           " are left");
    }
    std::string piece = data.substr(offset, static_cast<std::size_t>(length));
    offset += static_cast<std::size_t>(length);
    const std::size_t id = out.tokens.size();
    const bool byte = id >= 3 && id < 259;
    if (byte) {
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(id - 3));
      if (piece != name) fail(where, ": token ", id, " is \"", piece, "\", expected the byte ", name);
    } else if (id >= 259) {
      std::string escaped;
      for (const char c : piece) c == ' ' ? escaped.append("\xE2\x96\x81") : escaped.append(1, c);
      piece = std::move(escaped);
    }
    if (id == 0) piece = "<unk>";
    if (id == 1) piece = "<s>";
    if (id == 2) piece = "</s>";
    const TokenType type = id == 0  ? TokenType::kUnknown
                           : id < 3 ? TokenType::kControl
                           : byte   ? TokenType::kByte
                                    : TokenType::kNormal;
    out.tokens.push_back(std::move(piece));
    out.token_types.push_back(static_cast<std::int32_t>(type));
  }
  if (out.tokens.size() < 259) fail(where, ": not a llama2.c tokenizer (", out.tokens.size(), " tokens)");
  out.unknown_token_id = 0;
  out.bos_token_id = 1;
  out.eos_token_id = 2;
  return Tokenizer(pipeline_from_vocabulary(out, where));
}

}  // namespace lrqat::text
