#include "lrqat/text/decoder.h"

#include "lrqat/text/byte_level.h"
#include "lrqat/text/component.h"
#include "lrqat/text/pattern.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

// GPT-2's byte alphabet. Pieces with other characters (added tokens) stand for themselves.
class ByteLevelDecoder final : public Decoder {
 public:
  void decode(std::vector<std::string>& pieces, bool) const override {
    std::string bytes;
    for (const std::string& piece : pieces) bytes += from_byte_level(piece).value_or(piece);
    pieces = {is_valid_utf8(bytes) ? std::move(bytes) : replace_invalid_utf8(bytes)};
  }
};

// Runs of "<0xNN>" become the characters they spell, or one U+FFFD a byte.
class ByteFallbackDecoder final : public Decoder {
 public:
  void decode(std::vector<std::string>& pieces, bool) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (is_valid_utf8(bytes)) {
        if (!bytes.empty()) out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), std::string(kReplacementCharacter));
      }
      bytes.clear();
    };
    for (std::string& piece : pieces) {
      const int byte = byte_of_piece(piece);
      if (byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
      } else {
        flush();
        out.push_back(std::move(piece));
      }
    }
    flush();
    pieces = std::move(out);
  }
};

class FuseDecoder final : public Decoder {
 public:
  void decode(std::vector<std::string>& pieces, bool) const override {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    pieces = {std::move(all)};
  }
};

class ReplaceDecoder final : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content, bool single_character)
      : pattern_(std::move(pattern)), content_(std::move(content)), single_character_(single_character) {}
  void decode(std::vector<std::string>& pieces, bool) const override {
    for (std::string& piece : pieces) piece = replace_all(pattern_, piece, content_);
  }
  bool is_streamable() const override { return single_character_; }

 private:
  Pattern pattern_;
  std::string content_;
  bool single_character_;
};

// Drops up to `start` times `content` from the front of each piece and `stop` times from its end. Used after
// Fuse, where the one piece is the whole text; elsewhere it cannot be streamed.
class StripDecoder final : public Decoder {
 public:
  StripDecoder(std::string content, std::size_t start, std::size_t stop, bool fused)
      : content_(std::move(content)), start_(start), stop_(stop), fused_(fused) {}
  void decode(std::vector<std::string>& pieces, bool at_start) const override {
    for (std::string& piece : pieces) {
      std::string_view rest = piece;
      for (std::size_t i = 0; i < start_ && (at_start || !fused_) && rest.starts_with(content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (std::size_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
      piece = std::string(rest);
    }
  }
  // One space, the usual case, is decided by the first piece that has text; two might straddle pieces.
  bool is_streamable() const override { return stop_ == 0 && (start_ <= 1 || !fused_); }

 private:
  std::string content_;
  std::size_t start_;
  std::size_t stop_;
  bool fused_;
};

// The mark becomes a space, and nothing in the very first piece (unless nothing was put before the text).
class MetaspaceDecoder final : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool prepends)
      : mark_(std::move(replacement)), prepends_(prepends) {}
  void decode(std::vector<std::string>& pieces, bool at_start) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      pieces[i] = replace_all(mark_, pieces[i], i == 0 && at_start && prepends_ ? "" : " ");
    }
  }

 private:
  Pattern mark_;
  bool prepends_;
};

template <typename T>
std::unique_ptr<Decoder> make_plain(const Json&, const std::string&) {
  return std::make_unique<T>();
}

std::unique_ptr<Decoder> make_replace(const Json& json, const std::string& where) {
  const Json pattern = json_get<Json>(json, "pattern", where);
  Pattern compiled = Pattern::from_json(pattern, where);
  const std::string text = json_get_or<std::string>(pattern, "String", "", where);
  const bool single = !text.empty() && utf8_length(text[0]) == text.size();
  return std::make_unique<ReplaceDecoder>(std::move(compiled), json_get<std::string>(json, "content", where),
                                          single);
}

std::unique_ptr<Decoder> make_strip(const Json& json, const std::string& where) {
  const auto count = [&](const char* key) {
    const auto value = json_get<std::int64_t>(json, key, where);
    if (value < 0) fail(where, ": ", key, " is ", value, ", expected 0 or more");
    return static_cast<std::size_t>(value);
  };
  const std::string content =
      single_character(json_get<std::string>(json, "content", where), "content", where);
  return std::make_unique<StripDecoder>(content, count("start"), count("stop"), json.value("fused", false));
}

std::unique_ptr<Decoder> make_metaspace(const Json& json, const std::string& where) {
  const auto scheme = json_get_or<std::string>(json, "prepend_scheme", "always", where);
  const bool prefix = json_get_or<bool>(json, "add_prefix_space", true, where);
  const std::string mark =
      single_character(json_get<std::string>(json, "replacement", where), "replacement", where);
  return std::make_unique<MetaspaceDecoder>(mark, prefix && scheme != "never");
}

const ComponentRow<Decoder> kTable[] = {
    {"ByteLevel", {"add_prefix_space", "trim_offsets", "use_regex"}, make_plain<ByteLevelDecoder>},
    {"ByteFallback", {}, make_plain<ByteFallbackDecoder>},
    {"Fuse", {}, make_plain<FuseDecoder>},
    {"Replace", {"pattern", "content"}, make_replace},
    {"Strip", {"content", "start", "stop"}, make_strip},
    {"Metaspace", {"replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"}, make_metaspace},
};

}  // namespace

int byte_of_piece(const std::string& piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  const int high = digit(piece[3]);
  const int low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

Decoders decoders_from_json(const Json& json, const std::string& where) {
  Decoders out;
  append_components<Decoder>(json, kTable, "decoders", where + ": decoder", out);
  return out;
}

Decoders byte_level_decoders() {
  Decoders out;
  out.push_back(std::make_unique<ByteLevelDecoder>());
  return out;
}

Decoders sentencepiece_decoders(bool strip_space) {
  Decoders out;
  out.push_back(std::make_unique<ReplaceDecoder>(Pattern(std::string(kMetaSpace)), " ", true));
  out.push_back(std::make_unique<ByteFallbackDecoder>());
  out.push_back(std::make_unique<FuseDecoder>());
  if (strip_space) out.push_back(std::make_unique<StripDecoder>(" ", 1, 0, true));
  return out;
}

}  // namespace lrqat::text
