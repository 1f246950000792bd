// The model of a tokenizer: one word (a stretch that the pre-tokenizers left whole) to ids. Byte-pair
// encoding in its two kinds: by ranked merges (GPT-2, Hugging Face) and by the scores of pieces
// (SentencePiece).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lrqat/text/vocabulary.h"

namespace lrqat::text {

class WordModel {
 public:
  virtual ~WordModel() = default;
  // Appends the ids of `word`, valid UTF-8.
  virtual void encode(std::string_view word, std::vector<std::int32_t>& out) const = 0;
  // False where words are so long (whole texts) that remembering them is of no use.
  virtual bool words_repeat() const { return true; }
};

// What happens to a character that no piece covers.
struct UnknownRule {
  bool byte_fallback = false;  // its bytes as <0x00> … <0xFF>, where the vocabulary has them
  // Else this token; without one the character gives nothing, as in tokenizers and llama.cpp.
  std::optional<std::int32_t> unknown_id;
  bool fuse = false;  // a run of unknown characters is one token
};

struct MergeBpeOptions {
  bool byte_level = false;     // words are written in GPT-2's byte alphabet first
  bool ignore_merges = false;  // a word that is a piece is that piece, whatever the merges say
  UnknownRule unknown;
};

// merges: pairs of pieces by falling priority. Error (naming `where` and the merge) where a piece or the
// joined piece is not in the vocabulary.
std::unique_ptr<const WordModel> make_merge_bpe(
    std::shared_ptr<const Vocabulary> vocabulary,
    const std::vector<std::pair<std::string, std::string>>& merges, const MergeBpeOptions& options,
    const std::string& where);

// scores by id; pieces that `mergeable` leaves out (control, unknown, unused, byte pieces) never come out of
// merges.
std::unique_ptr<const WordModel> make_score_bpe(std::shared_ptr<const Vocabulary> vocabulary,
                                                std::vector<float> scores, std::vector<bool> mergeable,
                                                const UnknownRule& unknown);

// "Ġ t" to its halves: cut at the space. Error where there is not exactly one.
std::pair<std::string, std::string> split_merge(const std::string& merge, const std::string& where);

}  // namespace lrqat::text
