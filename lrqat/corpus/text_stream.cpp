#include "lrqat/corpus/text_stream.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/corpus/file_kind.h"

namespace lrqat::corpus {
namespace {

constexpr std::size_t kBlock = std::size_t{64} << 10;

std::string read_block(ByteSource& source) {
  std::string bytes(kBlock, '\0');
  bytes.resize(source.read(bytes));
  return bytes;
}

bool all_windows(std::string_view text) {
  std::size_t ends = 0;
  for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return false;
    ++ends;
  }
  return ends > 0;
}

}  // namespace

TextStream::TextStream(const std::filesystem::path& path) : name_(path.string()), source_(open_bytes(path)) {
  const std::string begin = read_block(*source_);
  refuse_other_kinds(begin, path, source_->is_packed());
  decoder_.emplace(encoding_of(begin), name_, line_, source_->is_packed());
  at_end_ = begin.size() < kBlock;
  decoder_->decode(begin, at_end_, buffer_);
  windows_lines_ = all_windows(buffer_);
}

TextStream::TextStream(std::string_view text, std::string name, std::int64_t first_line)
    : name_(std::move(name)), source_(bytes_in_memory(text)), line_(first_line) {
  decoder_.emplace(Encoding::utf8, name_, line_, false);
}

bool TextStream::fill() {
  if (begin_ > buffer_.size() / 2) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  const std::size_t before = buffer_.size();
  while (!at_end_ && buffer_.size() == before) {
    const std::string bytes = read_block(*source_);
    at_end_ = bytes.size() < kBlock;
    decoder_->decode(bytes, at_end_, buffer_);
  }
  return buffer_.size() > before;
}

void TextStream::consume(std::size_t bytes) {
  const std::string_view gone = buffered().substr(0, bytes);
  line_ += std::count(gone.begin(), gone.end(), '\n');
  begin_ += bytes;
}

std::optional<Line> TextStream::peek_line(std::size_t offset, std::size_t most) {
  std::size_t searched = offset;
  while (true) {
    const std::string_view text = buffered();
    const std::size_t end = text.find('\n', searched);
    const std::string_view before = text.substr(0, offset);
    const auto line = [&](std::size_t size, std::size_t bytes) {
      return Line{text.substr(offset, size), bytes, line_ + std::count(before.begin(), before.end(), '\n')};
    };
    if (end != std::string_view::npos) return line(end - offset, end - offset + 1);
    searched = text.size();
    if (searched - offset > most) return line(searched - offset, searched - offset);
    if (fill()) continue;
    if (searched <= offset) return std::nullopt;
    return line(searched - offset, searched - offset);
  }
}

std::optional<Line> TextStream::next_line(std::size_t most) {
  const std::optional<Line> line = peek_line(0, most);
  if (!line) return std::nullopt;
  if (line->text.size() > most) {
    fail(name_, ":", line->number, ": a line of more than ", most >> 20,
         " MiB. If it is one JSON value that holds "
         "the rows, write them one a line: jq -c '.[]'");
  }
  consume(line->bytes);
  return line;
}

}  // namespace lrqat::corpus
