// A string of a template: UTF-8 bytes, and where they come from. Offsets are of bytes unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lrqat::chat {

struct Origin {
  std::int32_t message = -1;  // whose text it is, counted from 0; -1: the template's own, or unknown
  bool generation = false;    // written inside {% generation %}
  std::uint32_t piece = 0;    // which of the template's writes wrote it, from 1; 0: none yet
  bool operator==(const Origin&) const = default;
};

class Text {
 public:
  struct Run {
    std::size_t length;
    Origin origin;
  };

  Text() = default;
  Text(std::string bytes) : bytes_(std::move(bytes)) {}  // NOLINT: a string is a text
  Text(std::string_view bytes) : bytes_(bytes) {}        // NOLINT
  Text(const char* bytes) : bytes_(bytes) {}             // NOLINT
  Text(std::string bytes, Origin origin);

  const std::string& bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // Lengths add up to size(); none at all where every byte has Origin{}.
  const std::vector<Run>& runs() const { return runs_; }

  void append_bytes(std::string_view bytes);  // of the template itself
  void append(const Text& other);
  Text part(std::size_t begin, std::size_t end) const;
  void mark_generation();
  void mark_piece(std::uint32_t piece);  // of the bytes that have none yet

  // Other bytes made from this text as a whole (upper case, JSON): they come from where all of it comes from.
  Text made(std::string bytes) const;
  Origin common_origin() const;  // without a piece; Origin{} where parts have several

  // Python's Markup, which `safe` and `escape` give: adding to it escapes what is added.
  bool markup() const { return markup_; }
  Text with_markup(bool markup) const;

 private:
  void add_run(std::size_t length, Origin origin);
  template <typename Change>
  void change_origins(const Change& change);

  std::string bytes_;
  std::vector<Run> runs_;
  bool markup_ = false;
};

}  // namespace lrqat::chat
