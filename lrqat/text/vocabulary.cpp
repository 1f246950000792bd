#include "lrqat/text/vocabulary.h"

#include "lrqat/base/error.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {

void Vocabulary::add(std::int64_t id, std::string piece, const std::string& where) {
  if (id < 0 || id > kMaxId) {
    fail(where, ": token \"", piece, "\" has id ", id, ", expected 0 to ", kMaxId);
  }
  if (!is_valid_utf8(piece)) fail(where, ": token ", id, " is not valid UTF-8");
  if (contains(id))
    fail(where, ": id ", id, " is given to both \"", this->piece(static_cast<std::int32_t>(id)), "\" and \"",
         piece, "\"");
  const auto index = static_cast<std::size_t>(id);
  if (index >= pieces_.size()) {
    pieces_.resize(index + 1);
    present_.resize(index + 1, false);
  }
  const auto [entry, is_new] = ids_.emplace(piece, static_cast<std::int32_t>(id));
  if (!is_new) fail(where, ": token \"", piece, "\" has two ids, ", entry->second, " and ", id);
  pieces_[index] = std::move(piece);
  present_[index] = true;
}

std::optional<std::int32_t> Vocabulary::id_of(std::string_view piece) const {
  const auto entry = ids_.find(piece);
  if (entry == ids_.end()) return std::nullopt;
  return entry->second;
}

bool Vocabulary::contains(std::int64_t id) const {
  return id >= 0 && id < size() && present_[static_cast<std::size_t>(id)];
}

}  // namespace lrqat::text
