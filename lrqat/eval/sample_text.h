// Text sampled from a model itself, to calibrate and train with where no other text is at hand (LLM-QAT, Liu
// et al. 2023, arXiv 2305.17888, section 3.1): rows {"text": …} that `--data` reads, a document each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/base/progress.h"
#include "lrqat/model/open.h"

namespace lrqat::eval {

// How a document begins, behind the token that stands in front of every text: BOS where the tokenizer adds
// it, else "<|endoftext|>", else the tokenizer's BOS or end of text, as far as it has them.
enum class FirstToken {
  // LLM-QAT's: a token drawn from all with text, alike; the next 2 to 4 the most likely ones; then samples.
  vocabulary,
  // Samples from the first on: what the model says of itself.
  document,
};
FirstToken parse_first_token(const std::string& name);  // "vocabulary" or "document"; else a UsageError
std::string name_of(FirstToken first_token);

struct SampleTextOptions {
  // At least so many tokens, as training counts them: the documents', read back, and one behind each.
  std::int64_t tokens = 65536;
  std::int64_t sequence_length = 0;  // most tokens of a document; 0: 512, or the model's positions
  std::int64_t batch_size = 0;       // documents at once; 0: 32, or what 1 GiB of keys and values holds
  double temperature = 1.0;
  double top_p = 1.0;
  FirstToken first_token = FirstToken::vocabulary;
  std::uint64_t seed = 0;
  // What else the text comes from ("model", "compute_dtype"): kept in the file with the options, and compared
  // when an interrupted command goes on.
  Json origin = Json::object();
};

// The options with their defaults filled in. UsageError where the model has too few positions; Error where
// temperature or top_p is out of range.
SampleTextOptions fit_to_model(SampleTextOptions options, const model::Decoder& decoder);

struct SampledText {
  std::int64_t documents = 0;                               // kept
  std::int64_t tokens = 0;                                  // of them, as options.tokens counts
  std::int64_t sampled_tokens = 0;                          // all that the model made
  std::int64_t empty = 0, repetitions = 0, duplicates = 0;  // dropped (document_filter.h)
  double seconds = 0;                                       // spent on sampling, also before an interruption
};

// Samples documents until they have options.tokens tokens and writes them to `out`, a .jsonl file, whose
// first row also says what made it (model::kSampledMark). Every document has a random stream of its own, by
// `seed` and its number, so the text does not depend on batch_size or threads but for the logits' last
// digits, which now and then decide another token. Same options, machine and threads: same bytes.
//
// After each batch its documents go to `out` + ".partial". Where that file is there, the work goes on behind
// its last whole batch and ends in the same bytes as without an interruption; Error where it is of other
// options. What stands at `out` is replaced: the caller asks first (model::check_output). Error also where
// document after document is dropped, as of a model that always says the same.
SampledText sample_text(const model::OpenedModel& model, const SampleTextOptions& options,
                        const std::filesystem::path& out, ProgressReporter& progress);

// The name of the file that an interrupted command leaves.
std::filesystem::path partial_file(const std::filesystem::path& out);

}  // namespace lrqat::eval
