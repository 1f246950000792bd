// Text in UTF-8 or UTF-16, piece by piece, as UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lrqat::corpus {

enum class Encoding { utf8, utf16_le, utf16_be };

// Of a text that begins so: by its byte order mark, or, as UTF-16 without one, by the zero bytes beside Latin
// letters, digits and spaces.
Encoding encoding_of(std::string_view begin);

class TextDecoder {
 public:
  // `name`: the file's, for messages; `first_line`: the number of its first line; `packed`: the bytes were
  // unpacked from a file.
  TextDecoder(Encoding encoding, std::string name, std::int64_t first_line, bool packed);

  // Appends what `bytes` say to `out`. A character that is cut at their end waits for the next ones, or is an
  // Error where `last`. A byte order mark at the beginning of all is left out. Error naming file, line and
  // byte where they are not of this encoding.
  void decode(std::string_view bytes, bool last, std::string& out);

 private:
  std::size_t decode_utf8(std::string_view bytes, bool last, std::string& out);  // bytes that were used
  std::size_t decode_utf16(std::string_view bytes, bool last, std::string& out);
  std::uint32_t unit(std::string_view bytes, std::size_t at) const;
  void count(std::string_view text);
  std::string place() const;  // "FILE:LINE"
  [[noreturn]] void fail_utf8(std::string_view bytes, std::size_t at, bool cut);
  [[noreturn]] void fail_utf16(const char* found, std::size_t used) const;

  Encoding encoding_;
  std::string name_;
  std::int64_t line_;
  bool packed_;
  bool at_start_ = true;
  bool has_zeros_ = false;
  std::int64_t bytes_ = 0;          // decoded so far, of the file
  std::int64_t bytes_of_line_ = 0;  // of UTF-8, since the last line end
  std::string waiting_;             // bytes of a character that is not complete
};

}  // namespace lrqat::corpus
