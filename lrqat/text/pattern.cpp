#include "lrqat/text/pattern.h"

#include <vector>

#include "lrqat/base/user_text.h"
#include "lrqat/text/oniguruma.h"
#include "lrqat/text/unicode.h"
#include "lrqat/text/unicode_versions.h"

namespace lrqat::text {
namespace {

struct Part {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

// Matches and what lies between them, covering the text.
std::vector<Part> all_parts(const Pattern& pattern, std::string_view text, bool invert) {
  std::vector<Part> parts;
  std::size_t end = 0;
  MatchIterator matches(pattern, text);
  while (const std::optional<Span> match = matches.next()) {
    if (end != match->begin) parts.push_back({end, match->begin, invert});
    parts.push_back({match->begin, match->end, !invert});
    end = match->end;
  }
  if (end != text.size()) parts.push_back({end, text.size(), invert});
  return parts;
}

// Adjacent parts of one kind become one.
std::vector<Part> merge_contiguous(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous_is_match = false;
  for (const Part& part : parts) {
    if (part.is_match == previous_is_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_is_match = part.is_match;
  }
  return merged;
}

// A match joins the part before it, unless that is a match, too.
std::vector<Part> merge_with_previous(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous_is_match = false;
  for (const Part& part : parts) {
    if (part.is_match && !previous_is_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_is_match = part.is_match;
  }
  return merged;
}

std::vector<Part> merge_with_next(const std::vector<Part>& parts) {
  std::vector<Part> merged;  // from the end
  bool next_is_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !next_is_match && !merged.empty()) {
      merged.back().begin = part->begin;
    } else {
      merged.push_back(*part);
    }
    next_is_match = part->is_match;
  }
  return {merged.rbegin(), merged.rend()};
}

// The two behaviors that need no look at the neighbours, without a list of parts.
void stream_parts(const Pattern& pattern, bool invert, bool keep_matches, std::string_view text,
                  const PartSink& sink) {
  const bool keep[2] = {!invert || keep_matches, invert || keep_matches};  // [between, match]
  std::size_t end = 0;
  MatchIterator matches(pattern, text);
  while (const std::optional<Span> match = matches.next()) {
    if (keep[0] && end != match->begin) sink(text.substr(end, match->begin - end));
    if (keep[1] && match->begin != match->end) sink(text.substr(match->begin, match->end - match->begin));
    end = match->end;
  }
  if (keep[0] && end != text.size()) sink(text.substr(end));
}

}  // namespace

Pattern Pattern::from_json(const Json& json, const std::string& where) {
  if (json.is_object() && json.size() == 1 && json.begin().value().is_string()) {
    const std::string value = json.begin().value().get<std::string>();
    if (json.begin().key() == "String") return Pattern(value);
    if (json.begin().key() == "Regex") return Pattern(Regex(oniguruma_to_pcre2(value, where), where));
  }
  fail(where, ": pattern is ", json_excerpt(json),
       ", expected {\"String\": \"...\"} or {\"Regex\": \"...\"}");
}

std::optional<Span> Pattern::find(std::string_view subject, std::size_t from) const {
  if (const auto* regex = std::get_if<Regex>(&what_)) return regex->find(subject, from);
  if (const auto* text = std::get_if<std::string>(&what_)) {
    const std::size_t begin = subject.find(*text, from);
    if (begin == std::string_view::npos) return std::nullopt;
    return Span{begin, begin + text->size()};
  }
  const CharacterTest test = std::get<CharacterTest>(what_);
  while (from < subject.size()) {
    std::size_t end = from;
    if (test(next_character(subject, end))) return Span{from, end};
    from = end;
  }
  return std::nullopt;
}

MatchIterator::MatchIterator(const Pattern& pattern, std::string_view subject)
    : pattern_(pattern),
      older_(pattern.is_regex() ? with_older_characters(subject) : std::nullopt),
      subject_(older_ ? *older_ : subject) {}

std::optional<Span> MatchIterator::next() {
  while (from_ <= subject_.size()) {
    const std::optional<Span> match = pattern_.find(subject_, from_);
    if (!match) break;
    if (match->begin == match->end && last_end_ == match->end) {
      from_ += from_ < subject_.size() ? utf8_length(subject_[from_]) : 1;
      continue;
    }
    from_ = match->end;
    last_end_ = match->end;
    return match;
  }
  from_ = subject_.size() + 1;
  return std::nullopt;
}

SplitBehavior split_behavior_from_name(const std::string& name, const std::string& where) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail(where, ": behavior ", quote(name),
       " is not known; known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

void split_by(const Pattern& pattern, SplitBehavior behavior, bool invert, std::string_view text,
              const PartSink& sink) {
  if (behavior == SplitBehavior::kIsolated) return stream_parts(pattern, invert, true, text, sink);
  if (behavior == SplitBehavior::kRemoved) return stream_parts(pattern, invert, false, text, sink);
  std::vector<Part> parts = all_parts(pattern, text, invert);
  if (behavior == SplitBehavior::kContiguous) parts = merge_contiguous(parts);
  if (behavior == SplitBehavior::kMergedWithPrevious) parts = merge_with_previous(parts);
  if (behavior == SplitBehavior::kMergedWithNext) parts = merge_with_next(parts);
  for (const Part& part : parts) {
    if (part.begin != part.end) sink(text.substr(part.begin, part.end - part.begin));
  }
}

void check_growth(std::size_t size, std::size_t original) {
  // The largest that Unicode does is 11 times (NFKC of U+FDFA); the rest is for short texts.
  constexpr std::size_t kTimes = 32, kShort = std::size_t{1} << 20;
  if (size <= kShort || size / kTimes <= original) return;
  fail("the tokenizer's normalizers or decoders make more than ", size / kShort, " MiB of ", original,
       " bytes of text: its replacements multiply the text, so the tokenizer's file is broken or hostile");
}

std::string replace_all(const Pattern& pattern, std::string_view text, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  if (text.empty()) return out;
  std::size_t end = 0;
  MatchIterator matches(pattern, text);
  while (const std::optional<Span> match = matches.next()) {
    out.append(text.substr(end, match->begin - end)).append(content);
    check_growth(out.size(), text.size());
    end = match->end;
  }
  return out.append(text.substr(end));
}

}  // namespace lrqat::text
