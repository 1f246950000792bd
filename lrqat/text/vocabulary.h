// The two-way table of a tokenizer: pieces (tokens as the vocabulary spells them) and ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lrqat::text {

class Vocabulary {
 public:
  // More would be a broken file: the largest vocabularies have 2^18 tokens.
  static constexpr std::int64_t kMaxId = (1 << 24) - 1;

  // Error when the id is out of range, the piece is not UTF-8, or either is there already. `where` names the
  // file.
  void add(std::int64_t id, std::string piece, const std::string& where);

  std::optional<std::int32_t> id_of(std::string_view piece) const;
  bool contains(std::int64_t id) const;
  const std::string& piece(std::int32_t id) const { return pieces_[static_cast<std::size_t>(id)]; }
  std::int64_t size() const { return static_cast<std::int64_t>(pieces_.size()); }  // largest id + 1

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::vector<std::string> pieces_;
  std::vector<bool> present_;
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;
};

}  // namespace lrqat::text
