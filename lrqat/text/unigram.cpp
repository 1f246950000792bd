#include "lrqat/text/unigram.h"

#include <algorithm>
#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/text/byte_level.h"
#include "lrqat/text/string_set.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

// tokenizers' K_UNK_PENALTY: a character without a piece costs this more than the worst piece.
constexpr double kUnknownPenalty = 10.0;

class Unigram final : public WordModel {
 public:
  Unigram(const Vocabulary& vocabulary, UnigramOptions options, std::string where)
      : options_(std::move(options)), where_(std::move(where)) {
    std::vector<std::pair<std::string, std::int32_t>> pieces;
    for (std::size_t i = 0; i < options_.scores.size(); ++i) {
      const auto id = static_cast<std::int32_t>(i);
      pieces.emplace_back(vocabulary.piece(id), id);
      if (!std::isfinite(options_.scores[i])) {
        fail(where_, ": the score of \"", vocabulary.piece(id), "\" is ", options_.scores[i]);
      }
    }
    if (pieces.empty()) fail(where_, ": a Unigram model without pieces");
    unknown_score_ = *std::min_element(options_.scores.begin(), options_.scores.end()) - kUnknownPenalty;
    for (std::size_t byte = 0; byte < bytes_.size(); ++byte) {
      bytes_[byte] = options_.byte_fallback ? vocabulary.id_of(byte_piece(byte)).value_or(-1) : -1;
    }
    pieces_ = StringSet(std::move(pieces));
  }

  void encode(std::string_view word, std::vector<std::int32_t>& out) const override {
    options_.byte_level ? encode_pieces(to_byte_level(word), out) : encode_pieces(word, out);
  }

 private:
  // The best way to a place in the word: its score, and the piece that it ends with.
  struct Step {
    double score = 0;
    std::int32_t id = kUnknown;
    std::size_t begin = kNowhere;
  };
  static constexpr std::int32_t kUnknown = -1;
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

  static std::string byte_piece(std::size_t byte) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    return {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
  }

  std::vector<Step> best_steps(std::string_view word) const {
    std::vector<Step> steps(word.size() + 1);
    const auto offer = [&](std::size_t begin, std::size_t end, double score, std::int32_t id) {
      Step& step = steps[end];
      score += steps[begin].score;
      if (step.begin == kNowhere || score > step.score) step = {score, id, begin};
    };
    for (std::size_t begin = 0; begin < word.size();) {
      const std::size_t next = begin + utf8_length(word[begin]);
      bool covered = false;
      pieces_.for_each_at(word, begin, [&](const StringSet::Match& match) {
        covered = covered || match.span.end == next;
        offer(begin, match.span.end, options_.scores[static_cast<std::size_t>(match.value)], match.value);
      });
      if (!covered) offer(begin, next, unknown_score_, kUnknown);
      begin = next;
    }
    return steps;
  }

  bool is_unknown(std::int32_t id) const { return id == kUnknown || id == options_.unknown_id; }

  void encode_pieces(std::string_view word, std::vector<std::int32_t>& out) const {
    const std::vector<Step> steps = best_steps(word);
    std::vector<std::pair<Span, std::int32_t>> cuts;  // from the end; unknown neighbours are one
    for (std::size_t end = word.size(); end > 0; end = steps[end].begin) {
      const Step& step = steps[end];
      const bool unknown = is_unknown(step.id);
      if (unknown && !cuts.empty() && cuts.back().second == kUnknown) {
        cuts.back().first.begin = step.begin;
      } else {
        cuts.push_back({{step.begin, end}, unknown ? kUnknown : step.id});
      }
    }
    for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {
      const auto& [span, id] = *cut;
      id == kUnknown ? encode_unknown(word.substr(span.begin, span.end - span.begin), out)
                     : out.push_back(id);
    }
  }

  void encode_unknown(std::string_view text, std::vector<std::int32_t>& out) const {
    const auto whole = pieces_.match_at(text, 0);  // the unknown token itself, written out
    if (whole && whole->span.end == text.size()) return out.push_back(whole->value);
    const auto has_piece = [&](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; };
    if (std::all_of(text.begin(), text.end(), has_piece)) {
      for (const char c : text) out.push_back(bytes_[static_cast<unsigned char>(c)]);
      return;
    }
    if (!options_.unknown_id) {
      fail(where_, ": no piece covers ", quote(text), ", and the vocabulary has no unk_id");
    }
    out.push_back(*options_.unknown_id);
  }

  UnigramOptions options_;
  std::string where_;
  StringSet pieces_;
  double unknown_score_ = 0;
  std::array<std::int32_t, 256> bytes_{};
};

}  // namespace

std::unique_ptr<const WordModel> make_unigram(const Vocabulary& vocabulary, UnigramOptions options,
                                              const std::string& where) {
  return std::make_unique<Unigram>(vocabulary, std::move(options), where);
}

}  // namespace lrqat::text
