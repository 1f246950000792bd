#include "lrqat/text/word_model.h"

#include <array>
#include <queue>

#include "lrqat/base/error.h"
#include "lrqat/text/byte_level.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

// A symbol of a word that is being merged: a doubly linked list over the word's characters.
struct Symbol {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  std::int32_t id = -1;  // -1: no piece
  std::int32_t previous = -1;
  std::int32_t next = -1;
  bool alive = true;
};

struct Merge {
  double priority = 0;  // smaller first
  std::int32_t id = -1;
};

struct Candidate {
  double priority;
  std::int32_t left;
  std::int32_t right;
  std::int32_t id;
  std::uint32_t left_end, right_end;  // the symbols as they were; otherwise the candidate is stale
};

// The best candidate on top: smallest priority, then leftmost.
struct Worse {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.priority != b.priority ? a.priority > b.priority : a.left > b.left;
  }
};

// Merges symbols until `find(left, right)` knows no more pairs.
template <typename Find>
void merge_all(std::vector<Symbol>& symbols, const Find& find) {
  std::priority_queue<Candidate, std::vector<Candidate>, Worse> queue;
  const auto push = [&](std::int32_t left, std::int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol &a = symbols[static_cast<std::size_t>(left)], &b = symbols[static_cast<std::size_t>(right)];
    if (const std::optional<Merge> merge = find(a, b))
      queue.push({merge->priority, left, right, merge->id, a.end, b.end});
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
    push(static_cast<std::int32_t>(i), static_cast<std::int32_t>(i) + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol &a = symbols[static_cast<std::size_t>(best.left)],
           &b = symbols[static_cast<std::size_t>(best.right)];
    if (!a.alive || !b.alive || a.end != best.left_end || b.end != best.right_end) continue;
    a.end = b.end;
    a.id = best.id;
    a.next = b.next;
    b.alive = false;
    if (a.next >= 0) symbols[static_cast<std::size_t>(a.next)].previous = best.left;
    push(a.previous, best.left);
    push(best.left, a.next);
  }
}

template <typename IdOf>
std::vector<Symbol> characters_of(std::string_view word, const IdOf& id_of) {
  std::vector<Symbol> symbols;
  for (std::size_t i = 0; i < word.size();) {
    const std::size_t size = utf8_length(word[i]);
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i + size),
                       id_of(word.substr(i, size)), index - 1, index + 1});
    i += size;
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

// tokenizers leaves out what has no token before it merges, so what stands around it may merge.
void drop_unknown(std::vector<Symbol>& symbols) {
  if (std::erase_if(symbols, [](const Symbol& symbol) { return symbol.id < 0; }) == 0) return;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<std::int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<std::int32_t>(i) + 1 : -1;
  }
}

// Writes the ids of finished symbols, with the rule for those that are no piece.
class Emitter {
 public:
  Emitter(const Vocabulary& vocabulary, const UnknownRule& rule) : rule_(rule) {
    if (!rule.byte_fallback) return;
    for (int byte = 0; byte < 256; ++byte) {
      constexpr char kDigits[] = "0123456789ABCDEF";
      const std::string piece = {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
      bytes_[static_cast<std::size_t>(byte)] = vocabulary.id_of(piece).value_or(-1);
    }
  }

  void emit(const std::vector<Symbol>& symbols, std::string_view word, std::vector<std::int32_t>& out) const {
    bool after_unknown = false;
    for (std::int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
      const Symbol& symbol = symbols[static_cast<std::size_t>(i)];
      if (symbol.id >= 0) {
        out.push_back(symbol.id);
        after_unknown = false;
      } else {
        after_unknown =
            emit_unknown(word.substr(symbol.begin, symbol.end - symbol.begin), after_unknown, out);
      }
    }
  }

 private:
  // True where an unknown token was written (or fused with the one before).
  bool emit_unknown(std::string_view text, bool after_unknown, std::vector<std::int32_t>& out) const {
    if (rule_.byte_fallback) {
      bool all = true;
      for (const char c : text) all = all && bytes_[static_cast<unsigned char>(c)] >= 0;
      if (all) {
        for (const char c : text) out.push_back(bytes_[static_cast<unsigned char>(c)]);
        return false;
      }
    }
    if (!rule_.unknown_id) return false;
    if (!(rule_.fuse && after_unknown)) out.push_back(*rule_.unknown_id);
    return true;
  }

  UnknownRule rule_;
  std::array<std::int32_t, 256> bytes_{};
};

class MergeBpe final : public WordModel {
 public:
  MergeBpe(std::shared_ptr<const Vocabulary> vocabulary,
           const std::vector<std::pair<std::string, std::string>>& merges, const MergeBpeOptions& options,
           const std::string& where)
      : vocabulary_(std::move(vocabulary)), options_(options), emitter_(*vocabulary_, options.unknown) {
    merges_.reserve(merges.size() * 2);
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
      const auto& [left, right] = merges[rank];
      const auto a = vocabulary_->id_of(left), b = vocabulary_->id_of(right),
                 joined = vocabulary_->id_of(left + right);
      if (!a || !b || !joined) {
        fail(where, ": merge ", rank, " \"", left, " ", right,
             "\" names a piece that the vocabulary does not have");
      }
      merges_.try_emplace(key(*a, *b), Merge{static_cast<double>(rank), *joined});
    }
  }

  void encode(std::string_view word, std::vector<std::int32_t>& out) const override {
    if (word.empty()) return;
    if (!options_.byte_level) return encode_pieces(word, out);
    encode_pieces(to_byte_level(word), out);
  }

 private:
  static std::uint64_t key(std::int32_t a, std::int32_t b) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
  }

  void encode_pieces(std::string_view word, std::vector<std::int32_t>& out) const {
    if (options_.ignore_merges) {
      if (const auto whole = vocabulary_->id_of(word)) return out.push_back(*whole);
    }
    auto symbols = characters_of(
        word, [&](std::string_view character) { return vocabulary_->id_of(character).value_or(-1); });
    if (!options_.unknown.unknown_id && !options_.unknown.byte_fallback) drop_unknown(symbols);
    merge_all(symbols, [&](const Symbol& a, const Symbol& b) -> std::optional<Merge> {
      if (a.id < 0 || b.id < 0) return std::nullopt;
      const auto found = merges_.find(key(a.id, b.id));
      return found == merges_.end() ? std::nullopt : std::optional(found->second);
    });
    emitter_.emit(symbols, word, out);
  }

  std::shared_ptr<const Vocabulary> vocabulary_;
  MergeBpeOptions options_;
  Emitter emitter_;
  std::unordered_map<std::uint64_t, Merge> merges_;
};

class ScoreBpe final : public WordModel {
 public:
  ScoreBpe(std::shared_ptr<const Vocabulary> vocabulary, std::vector<float> scores,
           std::vector<bool> mergeable, const UnknownRule& unknown)
      : vocabulary_(std::move(vocabulary)),
        scores_(std::move(scores)),
        mergeable_(std::move(mergeable)),
        emitter_(*vocabulary_, unknown) {}

  bool words_repeat() const override { return false; }

  void encode(std::string_view word, std::vector<std::int32_t>& out) const override {
    const auto id_of = [&](std::string_view piece) {
      const auto id = vocabulary_->id_of(piece);
      return id && mergeable_[static_cast<std::size_t>(*id)] ? *id : -1;
    };
    auto symbols = characters_of(word, id_of);
    merge_all(symbols, [&](const Symbol& a, const Symbol& b) -> std::optional<Merge> {
      const std::int32_t id = id_of(word.substr(a.begin, b.end - a.begin));
      if (id < 0) return std::nullopt;
      return Merge{-static_cast<double>(scores_[static_cast<std::size_t>(id)]), id};
    });
    emitter_.emit(symbols, word, out);
  }

 private:
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<float> scores_;
  std::vector<bool> mergeable_;
  Emitter emitter_;
};

}  // namespace

std::unique_ptr<const WordModel> make_merge_bpe(
    std::shared_ptr<const Vocabulary> vocabulary,
    const std::vector<std::pair<std::string, std::string>>& merges, const MergeBpeOptions& options,
    const std::string& where) {
  return std::make_unique<MergeBpe>(std::move(vocabulary), merges, options, where);
}

std::unique_ptr<const WordModel> make_score_bpe(std::shared_ptr<const Vocabulary> vocabulary,
                                                std::vector<float> scores, std::vector<bool> mergeable,
                                                const UnknownRule& unknown) {
  LRQAT_CHECK(static_cast<std::int64_t>(scores.size()) == vocabulary->size() &&
              mergeable.size() == scores.size());
  return std::make_unique<ScoreBpe>(std::move(vocabulary), std::move(scores), std::move(mergeable), unknown);
}

std::pair<std::string, std::string> split_merge(const std::string& merge, const std::string& where) {
  const std::size_t space = merge.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == merge.size() ||
      merge.find(' ', space + 1) != std::string::npos) {
    fail(where, ": merge \"", merge, "\" is not two pieces with a space between");
  }
  return {merge.substr(0, space), merge.substr(space + 1)};
}

}  // namespace lrqat::text
