#include "lrqat/eval/log_likelihood.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "lrqat/base/error.h"

namespace lrqat::eval {
namespace {

using Tokens = std::vector<std::int32_t>;

std::int64_t length_of(const Tokens& tokens) { return static_cast<std::int64_t>(tokens.size()); }

std::int64_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return std::mismatch(a.begin(), a.begin() + std::min(a.size(), b.size()), b.begin()).first - a.begin();
}

// A request as the model sees it: the last token is only predicted.
struct Sequence {
  Tokens inputs;
  Tokens targets;  // the continuation; its first token is predicted by inputs[first_scored]
  std::int64_t first_scored = 0;
};

Sequence make_sequence(const Request& request, std::int64_t max_length) {
  LRQAT_CHECK(!request.context.empty() && !request.continuation.empty());
  if (length_of(request.continuation) > max_length) {
    fail("a continuation of ", request.continuation.size(), " tokens does not fit into ", max_length,
         ", the most this model is evaluated with; `max-length` sets it");
  }
  Sequence sequence{request.context, request.continuation};
  sequence.inputs.insert(sequence.inputs.end(), request.continuation.begin(), request.continuation.end());
  if (length_of(sequence.inputs) > max_length + 1) {
    sequence.inputs.erase(sequence.inputs.begin(), sequence.inputs.end() - (max_length + 1));
  }
  sequence.inputs.pop_back();
  sequence.first_scored = length_of(sequence.inputs) - length_of(sequence.targets);
  return sequence;
}

// A document as a tree: the trunk is what all its sequences begin with, the branches are the rest of each.
struct Document {
  std::size_t index = 0;
  std::vector<Sequence> sequences;
  std::int64_t trunk = 0;

  // Tokens that every sequence has and that predict nothing scored: those a shared prefix may cover.
  std::int64_t shareable() const {
    std::int64_t most = trunk;
    for (const Sequence& sequence : sequences) most = std::min(most, sequence.first_scored);
    return most;
  }
  std::span<const std::int32_t> head() const {
    return std::span(sequences.front().inputs).first(static_cast<std::size_t>(shareable()));
  }
  std::int64_t tokens() const {
    std::int64_t count = trunk;
    for (const Sequence& sequence : sequences) count += length_of(sequence.inputs) - trunk;
    return count;
  }
};

Document make_document(std::size_t index, const std::vector<Request>& requests, std::int64_t max_length) {
  Document document{index};
  for (const Request& request : requests) {
    document.sequences.push_back(make_sequence(request, max_length));
    const Tokens& first = document.sequences.front().inputs;
    const std::int64_t common = common_prefix(first, document.sequences.back().inputs);
    document.trunk = document.sequences.size() == 1 ? common : std::min(document.trunk, common);
  }
  return document;
}

// What a row of the model's output is scored against.
struct Target {
  std::int64_t row;
  std::int32_t token;
  std::size_t document;  // in the batch
  std::size_t request;
};

// Packs documents into one row of tokens; the first `prefix` tokens of each are in the cache already.
class Batch {
 public:
  explicit Batch(std::int64_t prefix) : prefix_(prefix) {}

  bool empty() const { return documents_.empty(); }
  std::int64_t tokens() const { return length_of(tokens_); }

  void add(const Document& document) {
    const std::int64_t begin = tokens();
    append(document.sequences.front().inputs, prefix_, document.trunk);
    std::vector<std::int64_t> branches;  // where each begins, from the segment's begin
    for (std::size_t i = 0; i < document.sequences.size(); ++i) {
      const Sequence& sequence = document.sequences[i];
      branches.push_back(tokens() - begin);
      add_targets(sequence, begin, document.trunk, i);
      append(sequence.inputs, document.trunk, length_of(sequence.inputs));
    }
    branches.push_back(tokens() - begin);
    row_.segments.push_back({begin, tokens() - begin, mask(document, branches)});
    documents_.push_back(document.index);
    requests_.push_back(document.sequences.size());
  }

  void run(const model::Decoder& decoder, const nn::KvCache* prefix, const OnDocument& on_document) {
    const auto as_tensor = [&](const auto& values) {
      return at::tensor(at::ArrayRef(values.data(), values.size()), at::kLong).to(decoder.device());
    };
    row_.positions = as_tensor(positions_);
    row_.end_position = 1 + *std::max_element(positions_.begin(), positions_.end());
    for (nn::PackedSegment& segment : row_.segments) {
      if (segment.mask.defined()) segment.mask = segment.mask.to(decoder.device());
    }
    const at::Tensor hidden = decoder.forward_packed(as_tensor(tokens_).unsqueeze(0), row_, prefix)[0];
    report(decoder, hidden, on_document);
  }

 private:
  void append(const Tokens& inputs, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      tokens_.push_back(inputs[static_cast<std::size_t>(i)]);
      positions_.push_back(i);
    }
  }

  // Called before the branch is appended.
  void add_targets(const Sequence& sequence, std::int64_t begin, std::int64_t trunk, std::size_t request) {
    for (std::int64_t i = 0; i < length_of(sequence.targets); ++i) {
      const std::int64_t position = sequence.first_scored + i;
      const std::int64_t row = position < trunk ? begin + position - prefix_ : tokens() + position - trunk;
      targets_.push_back({row, sequence.targets[static_cast<std::size_t>(i)], documents_.size(), request});
    }
  }

  // Every token sees the prefix, what comes before it, but of the branches only its own.
  at::Tensor mask(const Document& document, const std::vector<std::int64_t>& branches) const {
    const std::int64_t length = branches.back(), trunk = document.trunk - prefix_;
    std::int64_t grown = 0;  // branches with tokens
    for (std::size_t i = 0; i + 1 < branches.size(); ++i) grown += branches[i + 1] > branches[i];
    if (grown < 2) return {};
    at::Tensor seen = at::ones({length, prefix_ + length}, at::kBool).tril_(prefix_);
    for (std::size_t i = 1; i + 1 < branches.size(); ++i) {
      seen.slice(0, branches[i], branches[i + 1]).slice(1, prefix_ + trunk, prefix_ + branches[i]).zero_();
    }
    return seen;
  }

  // A row that predicts the same position of several choices has its logits made once a target: they are few.
  void report(const model::Decoder& decoder, const at::Tensor& hidden, const OnDocument& on_document) const {
    at::Tensor rows = at::empty({static_cast<std::int64_t>(targets_.size())}, at::kLong);
    at::Tensor tokens = at::empty_like(rows);
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      rows.data_ptr<std::int64_t>()[i] = targets_[i].row;
      tokens.data_ptr<std::int64_t>()[i] = targets_[i].token;
    }
    const auto scored = decoder.score_rows(hidden.index_select(0, rows.to(hidden.device())), tokens);
    std::vector<std::vector<Score>> scores;
    for (const std::size_t count : requests_) scores.emplace_back(count);
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      Score& score = scores[targets_[i].document][targets_[i].request];
      score.log_likelihood += scored.log_probability.const_data_ptr<double>()[i];
      score.greedy = score.greedy && scored.greedy.const_data_ptr<bool>()[i];
    }
    for (std::size_t i = 0; i < scores.size(); ++i) on_document(documents_[i], std::move(scores[i]));
  }

  std::int64_t prefix_;
  Tokens tokens_;
  std::vector<std::int64_t> positions_;
  nn::PackedRow row_;
  std::vector<Target> targets_;
  std::vector<std::size_t> documents_;  // their indices
  std::vector<std::size_t> requests_;   // of each
};

// Documents one after the other that begin with the same `prefix` tokens.
struct Run {
  std::size_t count = 0;
  std::int64_t prefix = 0;
};

// The run that starts at the first document. A prefix is worth a pass of its own through the model where it
// saves more tokens than a batch has.
Run next_run(std::span<const Document> documents, std::int64_t batch_tokens) {
  constexpr std::int64_t kShortest = 32;
  const auto head = documents.front().head();
  Run run{1, static_cast<std::int64_t>(head.size())};
  while (run.count < documents.size()) {
    const std::int64_t common = common_prefix(head, documents[run.count].head());
    if (common < kShortest || common < run.prefix / 2) break;
    run.prefix = std::min(run.prefix, common);
    ++run.count;
  }
  if (run.prefix * static_cast<std::int64_t>(run.count - 1) < batch_tokens) return {1, 0};
  return run;
}

nn::KvCache cached_prefix(const model::Decoder& decoder, std::span<const std::int32_t> prefix) {
  constexpr std::int64_t kPiece = 512;  // tokens at a time, so that the length does not decide the memory
  nn::KvCache cache = decoder.make_cache();
  const at::Tensor tokens = at::tensor(at::ArrayRef(prefix.data(), prefix.size()), at::kLong).unsqueeze(0);
  for (std::int64_t begin = 0; begin < tokens.size(1); begin += kPiece) {
    const std::int64_t count = std::min(kPiece, tokens.size(1) - begin);
    decoder.forward(tokens.narrow(1, begin, count).to(decoder.device()), &cache);
  }
  return cache;
}

void run_documents(const model::Decoder& decoder, std::span<const Document> documents, std::int64_t prefix,
                   std::int64_t batch_tokens, const OnDocument& on_document) {
  std::optional<nn::KvCache> cache;
  if (prefix > 0) {
    cache = cached_prefix(decoder, documents.front().head().first(static_cast<std::size_t>(prefix)));
  }
  Batch batch(prefix);
  const auto flush = [&] {
    if (!batch.empty()) batch.run(decoder, cache ? &*cache : nullptr, on_document);
    batch = Batch(prefix);
  };
  for (const Document& document : documents) {
    if (batch.tokens() + document.tokens() - prefix > batch_tokens) flush();
    batch.add(document);
  }
  flush();
}

}  // namespace

void log_likelihoods(const model::Decoder& decoder, std::span<const std::vector<Request>> documents,
                     const LogLikelihoodOptions& options, const OnDocument& on_document) {
  const at::NoGradGuard no_grad;
  std::vector<Document> trees;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    trees.push_back(make_document(i, documents[i], options.max_length));
  }
  std::span<const Document> left(trees);
  while (!left.empty()) {
    // Documents without a prefix to share go together, up to the next run that has one.
    std::size_t plain = 0;
    Run run{0, 0};
    while (plain < left.size()) {
      run = next_run(left.subspan(plain), options.batch_tokens);
      if (run.prefix > 0) break;
      plain += run.count;
    }
    run_documents(decoder, left.first(plain), 0, options.batch_tokens, on_document);
    left = left.subspan(plain);
    if (left.empty()) break;
    run_documents(decoder, left.first(run.count), run.prefix, options.batch_tokens, on_document);
    left = left.subspan(run.count);
  }
}

}  // namespace lrqat::eval
