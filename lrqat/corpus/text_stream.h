// A file's text as it is read: UTF-8, whatever the file's compression and encoding, and no more of it in
// memory than what has been asked for and not consumed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lrqat/corpus/byte_source.h"
#include "lrqat/corpus/text_decoder.h"

namespace lrqat::corpus {

struct Line {
  std::string_view text;    // without its '\n'
  std::size_t bytes = 0;    // with it
  std::int64_t number = 0;  // from 1
};

class TextStream {
 public:
  // Error where the file is no text but of another kind (file_kind.h).
  explicit TextStream(const std::filesystem::path& path);
  // A text in memory, which must stay there; `name` and `first_line` are for messages.
  TextStream(std::string_view text, std::string name, std::int64_t first_line);

  const std::string& name() const { return name_; }

  // What has been read and not consumed. Views into it hold until the next fill().
  std::string_view buffered() const { return std::string_view(buffer_).substr(begin_); }
  // Reads more; false: there is no more.
  bool fill();
  void consume(std::size_t bytes);
  std::int64_t line() const { return line_; }  // of what follows next

  // The line that begins `offset` bytes behind what is consumed, or its beginning where it has more than
  // `most` bytes. Nothing at the end.
  std::optional<Line> peek_line(std::size_t offset, std::size_t most);
  // The next line, consumed. Error where it has more than `most` bytes.
  std::optional<Line> next_line(std::size_t most);

  // Whether all line ends were "\r\n", as far as the file's beginning shows (64 KiB of it).
  bool has_windows_lines() const { return windows_lines_; }
  std::int64_t position() const { return source_->position(); }  // bytes of the file read so far

 private:
  void start();

  std::string name_;
  std::unique_ptr<ByteSource> source_;
  std::optional<TextDecoder> decoder_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::int64_t line_ = 1;
  bool windows_lines_ = false;
  bool at_end_ = false;
};

}  // namespace lrqat::corpus
