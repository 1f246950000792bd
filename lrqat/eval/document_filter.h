// Which documents of a model's own text are worth training on: not those without text, not those that say the
// same again and again, not those that were there already.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>

namespace lrqat::eval {

enum class DocumentVerdict { kept, empty, repetition, duplicate };

// Counts runs of 8 tokens. A document is a repetition where more than three tenths of its runs stood in it
// before, and a duplicate where more than half of them stood in documents that were kept (a document of fewer
// than 8 tokens is one run).
class DocumentFilter {
 public:
  // The verdict on the next document, by its tokens; its runs are remembered where it is kept.
  DocumentVerdict add(std::span<const std::int32_t> tokens);

 private:
  std::unordered_set<std::uint64_t> seen_;  // hashes of the runs of kept documents
};

}  // namespace lrqat::eval
