// The methods of str.
#include <algorithm>

#include "lrqat/chat/characters.h"
#include "lrqat/chat/format.h"
#include "lrqat/chat/methods.h"
#include "lrqat/chat/split.h"

namespace lrqat::chat {
namespace {

template <std::string (*change)(std::string_view)>
Value changed(Runtime& runtime, const Value& self, const Bound&) {
  std::string out = change(self.bytes());
  runtime.budget.allocate(out.size());
  return self.text().made(std::move(out));
}

template <bool left, bool right>
Value strip(Runtime& runtime, const Value& self, const Bound& bound) {
  runtime.budget.allocate(self.text().size());
  return stripped_text(self.text(), bound.find(0), left, right);
}

// The part of the text that `start` and `end` (arguments 1 and 2) leave, in bytes, and its first character's
// number; begin > end where start lies behind the end.
struct Window {
  std::size_t begin, end;
  std::int64_t first;
};

Window window(const Text& text, const Bound& bound) {
  const auto size = static_cast<std::int64_t>(count_characters(text.bytes()));
  const auto place = [&](std::size_t index, std::int64_t fallback) {
    if (bound.find(index) == nullptr || bound[index].is_none()) return fallback;
    const std::int64_t at = bound.integer(index, 0);
    return at < 0 ? std::max<std::int64_t>(at + size, 0) : at;
  };
  const std::int64_t start = place(1, 0), end = std::min(place(2, size), size);
  const auto offset = [&](std::int64_t at) {
    return character_offset(text.bytes(), static_cast<std::size_t>(at));
  };
  if (start > end) return {1, 0, start};
  return {offset(start), offset(end), start};
}

std::int64_t find_in(const Value& self, const Bound& bound, bool last) {
  const Window part = window(self.text(), bound);
  if (part.begin > part.end) return -1;
  const std::string_view text = std::string_view(self.bytes()).substr(part.begin, part.end - part.begin);
  const std::string& what = bound.text(0).bytes();
  const std::size_t at = last ? text.rfind(what) : text.find(what);
  if (at == std::string_view::npos) return -1;
  return part.first + static_cast<std::int64_t>(count_characters(text.substr(0, at)));
}

template <bool last>
Value find(Runtime&, const Value& self, const Bound& bound) {
  return find_in(self, bound, last);
}

template <bool last>
Value index(Runtime&, const Value& self, const Bound& bound) {
  const std::int64_t at = find_in(self, bound, last);
  if (at < 0) refuse("substring not found");
  return at;
}

Value count(Runtime&, const Value& self, const Bound& bound) {
  const Window part = window(self.text(), bound);
  if (part.begin > part.end) return std::int64_t{0};
  const std::string_view text = std::string_view(self.bytes()).substr(part.begin, part.end - part.begin);
  const std::string& what = bound.text(0).bytes();
  if (what.empty()) return static_cast<std::int64_t>(count_characters(text)) + 1;
  std::int64_t number = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size()))
    ++number;
  return number;
}

template <bool at_end>
Value begins_or_ends(Runtime&, const Value& self, const Bound& bound) {
  const Window part = window(self.text(), bound);
  if (part.begin > part.end) return false;
  const std::string_view text = std::string_view(self.bytes()).substr(part.begin, part.end - part.begin);
  const auto fits = [&](const Value& what) {
    if (what.is_undefined()) what.raise_undefined();
    if (!what.is_text()) {
      refuse(at_end ? "endswith" : "startswith", " first arg must be str or a tuple of str, not ",
             what.type_name());
    }
    return at_end ? text.ends_with(what.bytes()) : text.starts_with(what.bytes());
  };
  if (!bound[0].is_tuple()) return fits(bound[0]);
  return std::any_of(bound[0].items().begin(), bound[0].items().end(), fits);
}

Value replace(Runtime& runtime, const Value& self, const Bound& bound) {
  const Text by = self.text().markup() ? escaped(bound[1], runtime.budget) : bound.text(1);
  return replaced(self.text(), bound.text(0), by, bound.integer(2, -1), runtime.budget);
}

Value join(Runtime& runtime, const Value& self, const Bound& bound) {
  std::vector<Text> parts;
  for (const Value& item : to_items(bound[0], runtime.budget)) {
    if (!item.is_text())
      refuse("sequence item ", parts.size(), ": expected str instance, ", item.type_name(), " found");
    parts.push_back(self.text().markup() ? escaped(item, runtime.budget) : item.text());
  }
  return joined(self.text(), parts, runtime.budget);
}

std::string fill_character(const Bound& bound) {
  if (bound.find(1) == nullptr) return " ";
  if (count_characters(bound.text(1).bytes()) != 1)
    refuse("The fill character must be exactly one character long");
  return bound.text(1).bytes();
}

// What is missing to that many characters.
std::size_t missing(const Text& text, std::int64_t width) {
  const auto size = static_cast<std::int64_t>(count_characters(text.bytes()));
  return static_cast<std::size_t>(std::max<std::int64_t>(width - size, 0));
}

Value ljust(Runtime& runtime, const Value& self, const Bound& bound) {
  return padded(self.text(), 0, missing(self.text(), bound.integer(0, 0)), fill_character(bound),
                runtime.budget);
}

Value rjust(Runtime& runtime, const Value& self, const Bound& bound) {
  return padded(self.text(), missing(self.text(), bound.integer(0, 0)), 0, fill_character(bound),
                runtime.budget);
}

Value center(Runtime& runtime, const Value& self, const Bound& bound) {
  return centered(self.text(), bound.integer(0, 0), fill_character(bound), runtime.budget);
}

Value zfill(Runtime& runtime, const Value& self, const Bound& bound) {
  const Text& text = self.text();
  const bool sign = text.bytes().starts_with('+') || text.bytes().starts_with('-');
  Text out = text.part(0, sign ? 1 : 0);
  out.append(padded(text.part(sign ? 1 : 0, text.size()), missing(text, bound.integer(0, 0)), 0, "0",
                    runtime.budget));
  return out;
}

Value remove_prefix(Runtime&, const Value& self, const Bound& bound) {
  const Text& text = self.text();
  const Text& prefix = bound.text(0);
  return text.bytes().starts_with(prefix.bytes()) ? text.part(prefix.size(), text.size()) : text;
}

Value remove_suffix(Runtime&, const Value& self, const Bound& bound) {
  const Text& text = self.text();
  const Text& suffix = bound.text(0);
  return text.bytes().ends_with(suffix.bytes()) ? text.part(0, text.size() - suffix.size()) : text;
}

// Whether there are characters and all of them are of that kind.
template <bool (*is_kind)(char32_t)>
Value all(Runtime&, const Value& self, const Bound&) {
  for (std::size_t at = 0; at < self.text().size();) {
    if (!is_kind(next_character(self.bytes(), at))) return false;
  }
  return !self.text().empty();
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c); }

Value is_ascii(Runtime&, const Value& self, const Bound&) {
  return std::all_of(self.bytes().begin(), self.bytes().end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Value is_printable_text(Runtime& runtime, const Value& self, const Bound& bound) {
  return self.text().empty() || all<is_printable>(runtime, self, bound).boolean();
}

Value is_identifier_text(Runtime&, const Value& self, const Bound&) { return is_identifier(self.bytes()); }

template <bool upper>
Value is_case(Runtime&, const Value& self, const Bound&) {
  return is_of_case(self.bytes(), upper);
}

Value is_title_text(Runtime&, const Value& self, const Bound&) {
  bool inside = false, found = false;
  for (std::size_t at = 0; at < self.text().size();) {
    const char32_t c = next_character(self.bytes(), at);
    if (is_upper(c) || is_title(c) ? inside : is_lower(c) && !inside) return false;
    inside = is_upper(c) || is_title(c) || is_lower(c);
    found = found || inside;
  }
  return found;
}

Value format(Runtime& runtime, const Value& self, const Bound& bound) {
  return brace_format(self.text(), bound.rest(), runtime);
}

Value format_map(Runtime& runtime, const Value& self, const Bound& bound) {
  Arguments arguments;
  if (!bound[0].is_dict()) refuse("format_map() takes a mapping");
  for (const auto& [key, value] : bound[0].dict().entries()) {
    if (key.is_text()) arguments.named.emplace_back(key.bytes(), value);
  }
  return brace_format(self.text(), arguments, runtime);
}

constexpr MethodRow kTextMethods[] = {
    {"capitalize", "", changed<capitalized>},
    {"casefold", "", changed<case_folded>},
    {"center", "/ width fillchar?", center},
    {"count", "/ sub start? end?", count},
    {"encode", "", nullptr},
    {"endswith", "/ suffix start? end?", begins_or_ends<true>},
    {"expandtabs", "tabsize?", expand_tabs},
    {"find", "/ sub start? end?", find<false>},
    {"format", "* **", format},
    {"format_map", "/ mapping", format_map},
    {"index", "/ sub start? end?", index<false>},
    {"isalnum", "", all<is_alphanumeric>},
    {"isalpha", "", all<is_alpha>},
    {"isascii", "", is_ascii},
    {"isdecimal", "", all<is_decimal>},
    {"isdigit", "", all<is_digit>},
    {"isidentifier", "", is_identifier_text},
    {"islower", "", is_case<false>},
    {"isnumeric", "", all<is_numeric>},
    {"isprintable", "", is_printable_text},
    {"isspace", "", all<is_space>},
    {"istitle", "", is_title_text},
    {"isupper", "", is_case<true>},
    {"join", "/ iterable", join},
    {"ljust", "/ width fillchar?", ljust},
    {"lower", "", changed<lower_case>},
    {"lstrip", "/ chars?", strip<true, false>},
    {"maketrans", "", nullptr},
    {"partition", "/ sep", partition},
    {"removeprefix", "/ prefix", remove_prefix},
    {"removesuffix", "/ suffix", remove_suffix},
    {"replace", "/ old new count?", replace},
    {"rfind", "/ sub start? end?", find<true>},
    {"rindex", "/ sub start? end?", index<true>},
    {"rjust", "/ width fillchar?", rjust},
    {"rpartition", "/ sep", rpartition},
    {"rsplit", "sep? maxsplit?", rsplit},
    {"rstrip", "/ chars?", strip<false, true>},
    {"split", "sep? maxsplit?", split},
    {"splitlines", "keepends?", split_lines_method},
    {"startswith", "/ prefix start? end?", begins_or_ends<false>},
    {"strip", "/ chars?", strip<true, true>},
    {"swapcase", "", changed<swapped_case>},
    {"title", "", changed<title_case>},
    {"translate", "", nullptr},
    {"upper", "", changed<upper_case>},
    {"zfill", "/ width", zfill},
};

}  // namespace

std::span<const MethodRow> text_methods() { return kTextMethods; }

}  // namespace lrqat::chat
