#include "lrqat/text/pre_tokenizer.h"

#include "lrqat/text/component.h"
#include "lrqat/text/oniguruma.h"
#include "lrqat/text/pattern.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

Regex translated(const std::string& pattern, const std::string& where) {
  return Regex(oniguruma_to_pcre2(pattern, where), where);
}

// Split, and everything that comes down to it.
class Split final : public PreTokenizer {
 public:
  // `isolating`: the expression that does the same, where there is one.
  Split(Pattern pattern, SplitBehavior behavior, bool invert,
        std::optional<std::string> isolating = std::nullopt)
      : pattern_(std::move(pattern)),
        behavior_(behavior),
        invert_(invert),
        isolating_(std::move(isolating)) {}

  void split(std::string_view text, bool at_start, const WordSink& next) const override {
    split_by(pattern_, behavior_, invert_, text,
             [&](std::string_view part) { next(part, at_start && part.data() == text.data()); });
  }
  std::optional<std::string> as_isolating_pattern() const override { return isolating_; }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
  std::optional<std::string> isolating_;
};

// The splitting half of ByteLevel.
class ByteLevelSplit final : public PreTokenizer {
 public:
  ByteLevelSplit(bool add_prefix_space, bool use_regex, const std::string& where)
      : add_prefix_space_(add_prefix_space) {
    if (use_regex) pattern_.emplace(translated(kGpt2Pattern, where));
  }

  void split(std::string_view text, bool at_start, const WordSink& next) const override {
    if (!add_prefix_space_ || text.starts_with(' ')) return split_prefixed(text, at_start, next);
    split_prefixed(" " + std::string(text), at_start, next);
  }
  std::optional<std::string> as_isolating_pattern() const override {
    if (add_prefix_space_) return std::nullopt;
    return pattern_ ? kGpt2Pattern : "";
  }
  bool is_byte_level() const override { return true; }

 private:
  void split_prefixed(std::string_view text, bool at_start, const WordSink& next) const {
    if (!pattern_) return next(text, at_start);
    split_by(*pattern_, SplitBehavior::kIsolated, false, text,
             [&](std::string_view part) { next(part, at_start && part.data() == text.data()); });
  }

  bool add_prefix_space_;
  std::optional<Pattern> pattern_;
};

class Metaspace final : public PreTokenizer {
 public:
  enum class Prepend { kFirst, kNever, kAlways };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(replacement), mark_(std::move(replacement)), prepend_(prepend), split_(split) {}

  void split(std::string_view text, bool at_start, const WordSink& next) const override {
    static const Pattern kSpace{std::string(" ")};
    std::string replaced = replace_all(kSpace, text, replacement_);
    const bool prepend = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && at_start);
    if (prepend && !replaced.starts_with(replacement_)) replaced.insert(0, replacement_);
    if (!split_) return next(replaced, at_start);
    split_by(mark_, SplitBehavior::kMergedWithNext, false, replaced,
             [&](std::string_view part) { next(part, at_start && part.data() == replaced.data()); });
  }

 private:
  std::string replacement_;
  Pattern mark_;
  Prepend prepend_;
  bool split_;
};

std::unique_ptr<PreTokenizer> make_byte_level(const Json& json, const std::string& where) {
  return std::make_unique<ByteLevelSplit>(json_get<bool>(json, "add_prefix_space", where),
                                          json_get_or<bool>(json, "use_regex", true, where), where);
}

// "Isolated" and, where the expression covers every text, "Removed" with "invert" cut alike; the published
// expressions all end in \s+ beside everything else that is not white space, so they do.
std::optional<std::string> isolating_pattern(const Json& pattern, SplitBehavior behavior, bool invert) {
  if (!pattern.contains("Regex")) return std::nullopt;
  const bool isolates =
      behavior == SplitBehavior::kIsolated || (behavior == SplitBehavior::kRemoved && invert);
  return isolates ? std::optional(pattern["Regex"].get<std::string>()) : std::nullopt;
}

std::unique_ptr<PreTokenizer> make_split(const Json& json, const std::string& where) {
  const Json pattern = json_get<Json>(json, "pattern", where);
  const auto behavior = split_behavior_from_name(json_get<std::string>(json, "behavior", where), where);
  const bool invert = json_get_or<bool>(json, "invert", false, where);
  Pattern compiled = Pattern::from_json(pattern, where);
  return std::make_unique<Split>(std::move(compiled), behavior, invert,
                                 isolating_pattern(pattern, behavior, invert));
}

std::unique_ptr<PreTokenizer> make_digits(const Json& json, const std::string& where) {
  const bool individual = json_get<bool>(json, "individual_digits", where);
  return std::make_unique<Split>(Pattern(CharacterTest(is_numeric)),
                                 individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false,
                                 individual ? R"(\p{N})" : R"(\p{N}+)");
}

std::unique_ptr<PreTokenizer> make_punctuation(const Json& json, const std::string& where) {
  const auto behavior = json_get_or<std::string>(json, "behavior", "Isolated", where);
  return std::make_unique<Split>(Pattern(CharacterTest(is_punctuation)),
                                 split_behavior_from_name(behavior, where), false);
}

std::unique_ptr<PreTokenizer> make_whitespace(const Json&, const std::string& where) {
  // Rust's \w has decimal digits only, Oniguruma's has all numbers; this is written for PCRE2.
  return std::make_unique<Split>(
      Pattern(Regex(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+|)"
                    R"([^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\p{White_Space}]+)",
                    where)),
      SplitBehavior::kRemoved, true);
}

std::unique_ptr<PreTokenizer> make_whitespace_split(const Json&, const std::string&) {
  return std::make_unique<Split>(Pattern(CharacterTest(is_white_space)), SplitBehavior::kRemoved, false);
}

std::unique_ptr<PreTokenizer> make_metaspace(const Json& json, const std::string& where) {
  std::string scheme = json_get_or<std::string>(json, "prepend_scheme", "always", where);
  if (!json_get_or<bool>(json, "add_prefix_space", true, where)) {
    if (json.contains("prepend_scheme") && scheme != "never") {
      fail(where, ": add_prefix_space is false, but prepend_scheme is \"", scheme, "\", expected \"never\"");
    }
    scheme = "never";
  }
  Metaspace::Prepend prepend = Metaspace::Prepend::kAlways;
  if (scheme == "first") {
    prepend = Metaspace::Prepend::kFirst;
  } else if (scheme == "never") {
    prepend = Metaspace::Prepend::kNever;
  } else if (scheme != "always") {
    fail(where, ": prepend_scheme \"", scheme, "\" is not known; known: first, never, always");
  }
  const std::string mark =
      single_character(json_get<std::string>(json, "replacement", where), "replacement", where);
  return std::make_unique<Metaspace>(mark, prepend, json_get_or<bool>(json, "split", true, where));
}

const ComponentRow<PreTokenizer> kTable[] = {
    {"ByteLevel", {"add_prefix_space", "trim_offsets", "use_regex"}, make_byte_level},
    {"Split", {"pattern", "behavior", "invert"}, make_split},
    {"Digits", {"individual_digits"}, make_digits},
    {"Punctuation", {"behavior"}, make_punctuation},
    {"Whitespace", {}, make_whitespace},
    {"WhitespaceSplit", {}, make_whitespace_split},
    {"Metaspace", {"replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"}, make_metaspace},
};

}  // namespace

PreTokenizers pre_tokenizers_from_json(const Json& json, const std::string& where) {
  PreTokenizers out;
  append_components<PreTokenizer>(json, kTable, "pretokenizers", where + ": pre_tokenizer", out.steps);
  for (std::size_t i = 0; i < out.steps.size(); ++i) {
    if (!out.steps[i]->is_byte_level()) continue;
    if (i + 1 < out.steps.size()) fail(where, ": pre_tokenizer ByteLevel is not the last of its Sequence");
    out.byte_level = true;
  }
  return out;
}

std::unique_ptr<const PreTokenizer> make_isolating_split(const std::string& pattern,
                                                         const std::string& where) {
  return std::make_unique<Split>(Pattern(translated(pattern, where)), SplitBehavior::kIsolated, false,
                                 pattern);
}

}  // namespace lrqat::text
