#include "lrqat/chat/text.h"

#include <algorithm>

namespace lrqat::chat {

Text::Text(std::string bytes, Origin origin) : bytes_(std::move(bytes)) {
  if (origin != Origin{} && !bytes_.empty()) runs_.push_back({bytes_.size(), origin});
}

void Text::add_run(std::size_t length, Origin origin) {
  if (length == 0) return;
  if (!runs_.empty() && runs_.back().origin == origin) {
    runs_.back().length += length;
  } else {
    runs_.push_back({length, origin});
  }
}

void Text::append_bytes(std::string_view bytes) {
  if (!runs_.empty()) add_run(bytes.size(), {});
  bytes_ += bytes;
}

void Text::append(const Text& other) {
  if (other.runs_.empty()) return append_bytes(other.bytes_);
  if (runs_.empty()) add_run(bytes_.size(), {});
  for (const Run& run : other.runs_) add_run(run.length, run.origin);
  bytes_ += other.bytes_;
}

Text Text::part(std::size_t begin, std::size_t end) const {
  Text out(bytes_.substr(begin, end - begin));
  out.markup_ = markup_;
  std::size_t at = 0;
  for (const Run& run : runs_) {
    const std::size_t from = std::max(at, begin), to = std::min(at + run.length, end);
    if (from < to) out.add_run(to - from, run.origin);
    at += run.length;
  }
  if (out.runs_.size() == 1 && out.runs_[0].origin == Origin{}) out.runs_.clear();
  return out;
}

template <typename Change>
void Text::change_origins(const Change& change) {
  if (runs_.empty()) add_run(bytes_.size(), {});
  const std::vector<Run> old = std::move(runs_);
  runs_.clear();
  for (const Run& run : old) {
    Origin origin = run.origin;
    change(origin);
    add_run(run.length, origin);
  }
}

void Text::mark_generation() {
  change_origins([](Origin& origin) { origin.generation = true; });
}

void Text::mark_piece(std::uint32_t piece) {
  change_origins([piece](Origin& origin) {
    if (origin.piece == 0) origin.piece = piece;
  });
}

Text Text::made(std::string bytes) const {
  Text out(std::move(bytes), common_origin());
  out.markup_ = markup_;
  return out;
}

Origin Text::common_origin() const {
  if (runs_.empty()) return {};
  const Origin& first = runs_[0].origin;
  const bool common = std::all_of(runs_.begin(), runs_.end(), [&](const Run& run) {
    return run.origin.message == first.message && run.origin.generation == first.generation;
  });
  return common ? Origin{first.message, first.generation} : Origin{};
}

Text Text::with_markup(bool markup) const {
  Text out = *this;
  out.markup_ = markup;
  return out;
}

}  // namespace lrqat::chat
