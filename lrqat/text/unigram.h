// Unigram of Hugging Face `tokenizers` (SentencePiece's other model): the cut of a word whose pieces have the
// largest sum of scores (log probabilities).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/text/word_model.h"

namespace lrqat::text {

struct UnigramOptions {
  std::vector<double> scores;              // by id
  std::optional<std::int32_t> unknown_id;  // of what no piece covers; without one it is an Error
  bool byte_fallback = false;              // its bytes as <0x00> … <0xFF>, where the vocabulary has them
  bool byte_level = false;                 // words are written in GPT-2's byte alphabet first
};

// The pieces of `vocabulary` are those with scores; tokens that come later are never found in words.
std::unique_ptr<const WordModel> make_unigram(const Vocabulary& vocabulary, UnigramOptions options,
                                              const std::string& where);

}  // namespace lrqat::text
