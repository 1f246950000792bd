#include "lrqat/eval/sample_text.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <vector>

#include "lrqat/base/clock.h"
#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/file_lock.h"
#include "lrqat/eval/document_filter.h"
#include "lrqat/eval/draw_documents.h"
#include "lrqat/eval/generation.h"
#include "lrqat/model/output.h"
#include "lrqat/model/positions.h"

namespace lrqat::eval {
namespace {

namespace fs = std::filesystem;

Json settings_of(const SampleTextOptions& options) {
  Json settings = options.origin;
  settings["tokens"] = options.tokens;
  settings["sequence_length"] = options.sequence_length;
  settings["batch_size"] = options.batch_size;
  settings["temperature"] = options.temperature;
  settings["top_p"] = options.top_p;
  settings["first_token"] = name_of(options.first_token);
  settings["seed"] = options.seed;
  return settings;
}

// What one batch gave, a line of the partial file.
struct Batch {
  std::int64_t drawn = 0;  // documents
  std::int64_t sampled_tokens = 0;
  std::int64_t empty = 0, repetitions = 0, duplicates = 0;
  double seconds = 0;
  std::vector<std::string> documents;  // kept
};

std::string line_of(const Batch& batch) {
  return json_text({{"drawn", batch.drawn},
                    {"sampled_tokens", batch.sampled_tokens},
                    {"empty", batch.empty},
                    {"repetitions", batch.repetitions},
                    {"duplicates", batch.duplicates},
                    {"seconds", batch.seconds},
                    {"documents", batch.documents}}) +
         "\n";
}

Batch read_batch(const std::string& line, const std::string& where) {
  const Json json = parse_json(line, where);
  return {json_get<std::int64_t>(json, "drawn", where),
          json_get<std::int64_t>(json, "sampled_tokens", where),
          json_get<std::int64_t>(json, "empty", where),
          json_get<std::int64_t>(json, "repetitions", where),
          json_get<std::int64_t>(json, "duplicates", where),
          json_get<double>(json, "seconds", where),
          json_get<std::vector<std::string>>(json, "documents", where)};
}

// The batches so far: the settings on the first line, then a line a batch. A last line without an end was
// cut off and does not count.
class PartialFile {
 public:
  PartialFile(fs::path path, const Json& settings) : path_(std::move(path)) {
    lock_ = FileLock::try_lock(path_);
    if (lock_ == nullptr) fail(path_.string(), ": another lrqat is sampling to it");
    const std::string text = read_text_file(path_);
    std::size_t end = 0;
    for (std::int64_t number = 1;; ++number) {
      const std::size_t next = text.find('\n', end);
      if (next == std::string::npos) break;
      read_line(text.substr(end, next - end), number, settings);
      end = next + 1;
    }
    fs::resize_file(path_, end);
    if (end == 0) append(json_text({{model::kSampledMark, settings}}) + "\n");
  }

  const std::vector<Batch>& batches() const { return batches_; }
  void add(const Batch& batch) { append(line_of(batch)); }
  void remove() const { fs::remove(path_); }

 private:
  void read_line(const std::string& line, std::int64_t number, const Json& settings) {
    const std::string where = concat(path_.string(), ":", number);
    if (number > 1) return batches_.push_back(read_batch(line, where));
    const Json found = json_get<Json>(parse_json(line, where), model::kSampledMark, where);
    for (const auto& [key, value] : settings.items()) {
      if (found.contains(key) && found[key] == value) continue;
      fail(path_.string(), ": an interrupted command's text, with ", key, " ",
           found.contains(key) ? json_text(found[key]) : "none", ", not ", json_text(value),
           ": give the same settings to go on, another `out`, or `force` to begin anew");
    }
  }

  void append(const std::string& line) const {
    std::ofstream file(path_, std::ios::binary | std::ios::app);
    file << line << std::flush;
    if (!file) fail(path_.string(), ": cannot be written to");
  }

  fs::path path_;
  std::unique_ptr<FileLock> lock_;
  std::vector<Batch> batches_;
};

// Without a character at the end of which only a part was drawn; empty where there is nothing but spaces.
std::string text_of(const std::vector<std::int32_t>& tokens, const text::Tokenizer& tokenizer) {
  constexpr std::string_view kBroken = "\xEF\xBF\xBD";  // U+FFFD
  std::string text = tokenizer.decode(tokens, /*skip_special_tokens=*/true);
  while (text.ends_with(kBroken)) text.resize(text.size() - kBroken.size());
  return text.find_first_not_of(" \n\r\t") == std::string::npos ? "" : text;
}

class TextSampling {
 public:
  TextSampling(const model::OpenedModel& model, const SampleTextOptions& options)
      : options_(options), tokenizer_(model.tokenizer()), source_(model, options) {}

  bool complete() const { return result_.tokens >= options_.tokens; }
  const SampledText& result() const { return result_; }

  Batch draw(ProgressReporter& progress) {
    Batch batch;
    const double begin = seconds_now();
    const auto on_step = [&](std::int64_t drawn) {
      batch.sampled_tokens = drawn;
      const auto made = static_cast<double>(result_.sampled_tokens + drawn);
      progress.update(std::min(result_.tokens + drawn, options_.tokens),
                      concat(std::llround(made / (result_.seconds + seconds_now() - begin)), " tokens/s, ",
                             result_.documents, " documents"));
    };
    for (const auto& tokens : source_.draw(drawn_, batch_documents(), on_step)) {
      if (complete()) break;
      ++batch.drawn;
      const DocumentVerdict verdict = offer(text_of(tokens, tokenizer_));
      batch.empty += verdict == DocumentVerdict::empty ? 1 : 0;
      batch.repetitions += verdict == DocumentVerdict::repetition ? 1 : 0;
      batch.duplicates += verdict == DocumentVerdict::duplicate ? 1 : 0;
      if (verdict == DocumentVerdict::kept) batch.documents.push_back(documents_.back());
    }
    batch.seconds = seconds_now() - begin;
    count(batch);
    return batch;
  }

  void replay(const Batch& batch) {
    for (const std::string& document : batch.documents) offer(document);
    count(batch);
  }

  void check_gets_on() const {
    constexpr std::int64_t kMostDropped = 128;
    if (dropped_in_a_row_ < kMostDropped) return;
    fail("the last ", dropped_in_a_row_,
         " documents that the model wrote were all dropped (of all: ", result_.empty, " empty, ",
         result_.repetitions, " repeating themselves, ", result_.duplicates,
         " like earlier ones): it has no more to say this way; try a higher `temperature` or another "
         "`first-token`");
  }

  void write(const fs::path& out, const Json& settings) const {
    AtomicFile file(out);
    for (std::size_t i = 0; i < documents_.size(); ++i) {
      Json row{{"text", documents_[i]}};
      if (i == 0) row[model::kSampledMark] = settings;
      file.write(json_text(row) + "\n");
    }
    file.commit();
  }

 private:
  DocumentVerdict offer(std::string text) {
    const auto tokens = text.empty() ? std::vector<std::int32_t>() : tokenizer_.encode(text);
    const DocumentVerdict verdict = filter_.add(tokens);
    if (verdict != DocumentVerdict::kept) return verdict;
    result_.tokens += training_tokens(tokens);
    ++result_.documents;
    documents_.push_back(std::move(text));
    return verdict;
  }

  void count(const Batch& batch) {
    drawn_ += batch.drawn;
    dropped_in_a_row_ = batch.documents.empty() ? dropped_in_a_row_ + batch.drawn : 0;
    result_.sampled_tokens += batch.sampled_tokens;
    result_.empty += batch.empty;
    result_.repetitions += batch.repetitions;
    result_.duplicates += batch.duplicates;
    result_.seconds += batch.seconds;
  }

  // As many as will be enough by the documents so far, so that little is drawn in vain.
  std::int64_t batch_documents() const {
    const double length = result_.documents > 0
                              ? static_cast<double>(result_.tokens) / static_cast<double>(drawn_)
                              : static_cast<double>(options_.sequence_length);
    const auto wanted = std::ceil(static_cast<double>(options_.tokens - result_.tokens) / length);
    return std::clamp(static_cast<std::int64_t>(wanted), std::int64_t{1}, options_.batch_size);
  }

  // With the end-of-text token that corpus::read_training_text puts behind a document.
  std::int64_t training_tokens(const std::vector<std::int32_t>& tokens) const {
    const auto eos = tokenizer_.eos_token_id();
    return std::ssize(tokens) + (eos && (tokens.empty() || tokens.back() != *eos) ? 1 : 0);
  }

  const SampleTextOptions& options_;
  const text::Tokenizer& tokenizer_;
  DocumentSource source_;
  DocumentFilter filter_;
  std::vector<std::string> documents_;
  std::int64_t drawn_ = 0;
  std::int64_t dropped_in_a_row_ = 0;
  SampledText result_;
};

}  // namespace

FirstToken parse_first_token(const std::string& name) {
  for (const FirstToken first : {FirstToken::vocabulary, FirstToken::document}) {
    if (name == name_of(first)) return first;
  }
  throw UsageError(concat("`first-token` \"", name, "\": expected vocabulary or document"));
}

std::string name_of(FirstToken first_token) {
  return first_token == FirstToken::vocabulary ? "vocabulary" : "document";
}

SampleTextOptions fit_to_model(SampleTextOptions options, const model::Decoder& decoder) {
  const formats::ModelConfig& config = decoder.config();
  constexpr std::int64_t kUsualLength = 512, kUsualBatch = 32, kCacheBytes = std::int64_t{1} << 30;
  check_sampling(options.temperature, options.top_p);
  if (options.sequence_length == 0)
    options.sequence_length = std::min(kUsualLength, config.max_position_embeddings);
  model::check_positions(config, concat("`sequence-length` ", options.sequence_length),
                         options.sequence_length);
  if (options.batch_size == 0) {
    const std::int64_t bytes = 2 * static_cast<std::int64_t>(sizeof(float)) * config.num_hidden_layers *
                               config.num_key_value_heads * config.head_dim * options.sequence_length;
    options.batch_size = std::clamp<std::int64_t>(kCacheBytes / bytes, 1, kUsualBatch);
  }
  return options;
}

fs::path partial_file(const fs::path& out) { return out.string() + ".partial"; }

SampledText sample_text(const model::OpenedModel& model, const SampleTextOptions& given, const fs::path& out,
                        ProgressReporter& progress) {
  const SampleTextOptions options = fit_to_model(given, *model.decoder);
  const Json settings = settings_of(options);
  PartialFile partial(partial_file(out), settings);
  TextSampling sampling(model, options);
  for (const Batch& batch : partial.batches()) sampling.replay(batch);
  if (!partial.batches().empty()) {
    progress.message(
        concat("going on with ", sampling.result().tokens, " tokens in ", partial_file(out).string()));
  }
  progress.start("sampling text", options.tokens);
  while (!sampling.complete()) {
    sampling.check_gets_on();
    partial.add(sampling.draw(progress));
  }
  progress.finish();
  sampling.write(out, settings);
  partial.remove();
  return sampling.result();
}

}  // namespace lrqat::eval
