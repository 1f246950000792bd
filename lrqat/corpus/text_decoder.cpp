#include "lrqat/corpus/text_decoder.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <sstream>

#include "lrqat/base/error.h"
#include "lrqat/base/utf8.h"
#include "lrqat/text/unicode.h"

namespace lrqat::corpus {
namespace {

constexpr std::string_view kMarkUtf8 = "\xEF\xBB\xBF", kMarkLe = "\xFF\xFE", kMarkBe = "\xFE\xFF";

std::string hex(unsigned char byte) {
  std::ostringstream out;
  out << "0x" << std::hex << std::setw(2) << std::setfill('0') << static_cast<unsigned>(byte);
  return out.str();
}

}  // namespace

Encoding encoding_of(std::string_view begin) {
  if (begin.starts_with(kMarkLe)) return Encoding::utf16_le;
  if (begin.starts_with(kMarkBe)) return Encoding::utf16_be;
  const std::string_view part = begin.substr(0, std::min<std::size_t>(begin.size(), 4096));
  std::array<std::size_t, 2> zeros{};  // at even places and at odd ones
  for (std::size_t i = 0; i < part.size(); ++i) zeros[i % 2] += part[i] == '\0' ? 1 : 0;
  for (const std::size_t side : {0, 1}) {
    if (zeros[side] * 4 > part.size() && zeros[1 - side] * 16 < zeros[side])
      return side == 0 ? Encoding::utf16_be : Encoding::utf16_le;
  }
  return Encoding::utf8;
}

TextDecoder::TextDecoder(Encoding encoding, std::string name, std::int64_t first_line, bool packed)
    : encoding_(encoding), name_(std::move(name)), line_(first_line), packed_(packed) {}

void TextDecoder::decode(std::string_view bytes, bool last, std::string& out) {
  std::string joined;
  if (!waiting_.empty()) {
    joined = waiting_.append(bytes);
    bytes = joined;
  }
  const std::size_t used =
      encoding_ == Encoding::utf8 ? decode_utf8(bytes, last, out) : decode_utf16(bytes, last, out);
  waiting_ = bytes.substr(used);
  bytes_ += static_cast<std::int64_t>(used);
}

std::size_t TextDecoder::decode_utf8(std::string_view bytes, bool last, std::string& out) {
  const std::size_t valid = text::valid_utf8_length(bytes);
  const bool cut = bytes.size() - valid < 4;  // perhaps a character whose other bytes will come
  if (valid < bytes.size() && (last || !cut)) fail_utf8(bytes, valid, cut);
  if (valid == 0) return 0;
  std::string_view text = bytes.substr(0, valid);
  if (at_start_ && text.starts_with(kMarkUtf8)) text.remove_prefix(kMarkUtf8.size());
  at_start_ = false;
  count(text);
  out += text;
  return valid;
}

std::uint32_t TextDecoder::unit(std::string_view bytes, std::size_t at) const {
  const auto low = static_cast<unsigned char>(bytes[at]), high = static_cast<unsigned char>(bytes[at + 1]);
  return encoding_ == Encoding::utf16_le ? low | (high << 8U) : high | (low << 8U);
}

std::size_t TextDecoder::decode_utf16(std::string_view bytes, bool last, std::string& out) {
  constexpr std::uint32_t kMark = 0xFEFF;
  const std::size_t begin = out.size();
  std::size_t at = 0;
  while (at + 2 <= bytes.size()) {
    std::uint32_t character = unit(bytes, at);
    std::size_t size = 2;
    if (character >= 0xD800 && character < 0xE000) {
      if (at + 4 > bytes.size() && !last) break;
      const std::uint32_t second = at + 4 <= bytes.size() ? unit(bytes, at + 2) : 0;
      if (character >= 0xDC00 || second < 0xDC00 || second >= 0xE000) {
        count(std::string_view(out).substr(begin));
        fail_utf16("half of a surrogate pair", at);
      }
      character = 0x10000 + ((character - 0xD800) << 10U) + (second - 0xDC00);
      size = 4;
    }
    if (!at_start_ || character != kMark) append_utf8(out, character);
    at_start_ = false;
    at += size;
  }
  count(std::string_view(out).substr(begin));
  if (last && at < bytes.size()) fail_utf16("half of a character at the end of the file (cut off?)", at);
  return at;
}

void TextDecoder::count(std::string_view text) {
  line_ += std::count(text.begin(), text.end(), '\n');
  const std::size_t end = text.rfind('\n');
  bytes_of_line_ = end == std::string_view::npos ? bytes_of_line_ + std::ssize(text)
                                                 : static_cast<std::int64_t>(text.size() - end - 1);
  has_zeros_ = has_zeros_ || text.find('\0') != std::string_view::npos;
}

std::string TextDecoder::place() const { return concat(name_, ":", line_); }

void TextDecoder::fail_utf8(std::string_view bytes, std::size_t at, bool cut) {
  const std::size_t mark = at_start_ && bytes.starts_with(kMarkUtf8) ? kMarkUtf8.size() : 0;
  count(bytes.substr(mark, at - mark));
  if (has_zeros_ || bytes.find('\0') != std::string_view::npos)
    fail(name_,
         ": no text, but a binary file of a kind that is not known here; `data` takes text, JSON lines or ",
         "a JSON array");
  fail(place(), ": not UTF-8 text: byte ", hex(static_cast<unsigned char>(bytes[at])), " at byte ",
       bytes_of_line_ + 1, " of the line, byte ", bytes_ + static_cast<std::int64_t>(at) + 1, " of the ",
       packed_ ? "unpacked text" : "file", cut ? ", perhaps of a character that is cut off at the end" : "",
       "; convert it to UTF-8, from the encoding that it is in (if that is Windows-1252: iconv -f "
       "WINDOWS-1252 -t UTF-8)");
}

void TextDecoder::fail_utf16(const char* found, std::size_t used) const {
  fail(place(), ": not UTF-16 text, although it begins so: ", found, ", at byte ",
       bytes_ + static_cast<std::int64_t>(used) + 1, " of the ", packed_ ? "unpacked text" : "file",
       "; write the file anew, as UTF-8");
}

}  // namespace lrqat::corpus
