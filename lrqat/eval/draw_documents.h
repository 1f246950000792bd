// Documents drawn from a model, a batch at once (sample_text.h has the whole work).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "lrqat/eval/sample_text.h"

namespace lrqat::eval {

class DocumentSource {
 public:
  // Options as fit_to_model gives them.
  DocumentSource(const model::OpenedModel& model, const SampleTextOptions& options);

  // The tokens of documents first … first + count - 1, without what stands before and behind a text. A
  // document ends at a stop token, at any other special token or at options.sequence_length. `on_step` gets
  // the number of tokens drawn so far.
  std::vector<std::vector<std::int32_t>> draw(std::int64_t first, std::int64_t count,
                                              const std::function<void(std::int64_t)>& on_step) const;

 private:
  struct Row;
  Row begin(std::int64_t index) const;
  // Draws the row's next token; whether the document goes on.
  bool step(Row& row, const at::Tensor& logits) const;

  const model::Decoder& decoder_;
  const SampleTextOptions& options_;
  std::vector<std::int32_t> prefix_;  // tokens in front of every document
  std::vector<std::int32_t> firsts_;  // what a first token is drawn from; none: it is sampled as all others
  std::vector<bool> ends_;            // by token
};

}  // namespace lrqat::eval
