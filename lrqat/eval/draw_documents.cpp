#include "lrqat/eval/draw_documents.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"
#include "lrqat/eval/generation.h"

namespace lrqat::eval {
namespace {

using Ids = std::vector<std::int32_t>;

// Tokens that are text on their own: no control tokens, no parts of characters.
Ids tokens_with_text(const text::Tokenizer& tokenizer, std::int64_t vocabulary) {
  constexpr const char* kBroken = "\xEF\xBF\xBD";  // U+FFFD
  Ids found;
  for (std::int32_t id = 0; id < std::min(tokenizer.vocab_size(), vocabulary); ++id) {
    if (tokenizer.is_special(id)) continue;
    const std::string text = tokenizer.decode(std::array{id});
    if (text.find_first_not_of(" \n\r\t") == std::string::npos || text.find(kBroken) != std::string::npos)
      continue;
    found.push_back(id);
  }
  if (found.empty()) fail("the tokenizer has no token with text, so no document can be sampled");
  return found;
}

// What stands in front of a document: the tokenizer's BOS, or what parted documents in pre-training. Without
// it the first words have no sense (SmolLM2 goes on from a bare " fertilizers" with "-to-be").
Ids document_prefix(const text::Tokenizer& tokenizer, FirstToken first_token) {
  const auto eos = tokenizer.eos_token_id();
  Ids prefix = tokenizer.encode("", /*add_special_tokens=*/true);
  if (!prefix.empty() && eos && prefix.back() == *eos) prefix.pop_back();  // of templates that end texts
  if (!prefix.empty()) return prefix;
  // GPT-2's token between documents, which many tokenizers keep beside those of their chat template.
  auto start = tokenizer.piece_to_id("<|endoftext|>");
  if (!start) start = tokenizer.bos_token_id();
  if (!start) start = eos;
  if (start) return {*start};
  if (first_token == FirstToken::vocabulary) return {};
  fail("the tokenizer names no token that begins or ends a text; give `first-token` vocabulary");
}

}  // namespace

struct DocumentSource::Row {
  Random random;
  std::int64_t number = 0;  // in the batch that was asked for
  std::int64_t greedy = 0;  // so many tokens more are the most likely ones
  Ids tokens;               // of the document
};

DocumentSource::DocumentSource(const model::OpenedModel& model, const SampleTextOptions& options)
    : decoder_(*model.decoder), options_(options) {
  const text::Tokenizer& tokenizer = model.tokenizer();
  const std::int64_t vocabulary = decoder_.config().vocab_size;
  prefix_ = document_prefix(tokenizer, options.first_token);
  if (options.first_token == FirstToken::vocabulary) firsts_ = tokens_with_text(tokenizer, vocabulary);
  ends_.resize(static_cast<std::size_t>(vocabulary));
  for (std::int32_t id = 0; id < std::min(tokenizer.vocab_size(), vocabulary); ++id) {
    ends_[static_cast<std::size_t>(id)] = tokenizer.is_special(id);
  }
  for (const std::int64_t token : stop_tokens(model)) {
    if (token >= 0 && token < vocabulary) ends_[static_cast<std::size_t>(token)] = true;
  }
}

DocumentSource::Row DocumentSource::begin(std::int64_t index) const {
  Row row{Random(options_.seed, 1 + static_cast<std::uint64_t>(index))};
  if (firsts_.empty()) return row;
  row.tokens.push_back(firsts_[row.random.below(firsts_.size())]);
  constexpr std::uint64_t kLeastGreedy = 2, kGreedyChoices = 3;
  row.greedy = static_cast<std::int64_t>(kLeastGreedy + row.random.below(kGreedyChoices));
  return row;
}

bool DocumentSource::step(Row& row, const at::Tensor& logits) const {
  GenerationOptions options{.temperature = options_.temperature, .top_p = options_.top_p};
  if (row.greedy > 0) {
    --row.greedy;
    options.temperature = 0;
  }
  const std::int64_t token = sample_token(logits, options, row.random);
  if (ends_[static_cast<std::size_t>(token)]) return false;
  row.tokens.push_back(static_cast<std::int32_t>(token));
  return std::ssize(prefix_) + std::ssize(row.tokens) < options_.sequence_length;
}

std::vector<Ids> DocumentSource::draw(std::int64_t first, std::int64_t count,
                                      const std::function<void(std::int64_t)>& on_step) const {
  std::vector<Ids> documents(static_cast<std::size_t>(count));
  std::vector<Row> rows;
  Ids prompts;
  for (std::int64_t i = 0; i < count; ++i) {
    rows.push_back(begin(first + i));
    rows.back().number = i;
    prompts.insert(prompts.end(), prefix_.begin(), prefix_.end());
    prompts.insert(prompts.end(), rows.back().tokens.begin(), rows.back().tokens.end());
  }
  DecodingBatch batch(decoder_, at::tensor(at::ArrayRef<std::int32_t>(prompts), at::kLong).view({count, -1}));
  for (std::int64_t drawn = 0; !rows.empty();) {
    std::vector<std::int64_t> going;
    std::vector<Row> next;
    Ids tokens;
    for (std::int64_t i = 0; i < std::ssize(rows); ++i) {
      Row& row = rows[static_cast<std::size_t>(i)];
      if (step(row, batch.logits()[i])) {
        going.push_back(i);
        tokens.push_back(row.tokens.back());
        next.push_back(std::move(row));
      } else {
        documents[static_cast<std::size_t>(row.number)] = std::move(row.tokens);
      }
    }
    drawn += std::ssize(rows);
    on_step(drawn);
    if (!next.empty() && next.size() < rows.size()) batch.keep(going);
    rows = std::move(next);
    if (!rows.empty()) batch.append(tokens);
  }
  return documents;
}

}  // namespace lrqat::eval
