#include <algorithm>
#include <cctype>

#include "lrqat/chat/characters.h"
#include "lrqat/chat/filter_rows.h"
#include "lrqat/chat/format.h"
#include "lrqat/chat/methods.h"

namespace lrqat::chat {
namespace {

// markupsafe's soft_str: a text stays as it is.
Text soft_text(const Value& value, Budget& budget) {
  return value.is_text() ? value.text() : to_text(value, budget);
}

Value changed(Runtime& runtime, const Value& value, std::string (*change)(std::string_view)) {
  const Text text = soft_text(value, runtime.budget);
  std::string out = change(text.bytes());
  runtime.budget.allocate(out.size());
  return text.made(std::move(out));
}

const Text& text_of(const Value& value, const char* filter) {
  if (value.is_undefined()) value.raise_undefined();
  if (!value.is_text()) refuse(filter, ": a str is expected, found ", value.type_name());
  return value.text();
}

// Words begin behind white space and -({[<.
bool is_word_separator(char32_t c) {
  return is_space(c) ||
         (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos);
}

// The first character of every word in upper case, the rest of it in lower case.
std::string titled(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t first_end = at;
    const bool separator = is_word_separator(next_character(text, first_end));
    std::size_t end = first_end;
    for (std::size_t next = end; next < text.size(); end = next) {
      if (is_word_separator(next_character(text, next)) != separator) break;
    }
    out += upper_case(text.substr(at, first_end - at)) + lower_case(text.substr(first_end, end - first_end));
    at = end;
  }
  return out;
}

bool is_word_character(char32_t c) { return c == '_' || is_alpha(c) || is_numeric(c) || is_digit(c); }

// urllib.parse.quote: "/" stays, and in a query not even that, where a space is "+".
std::string quoted(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("_.-~").find(c) != std::string_view::npos ||
        (c == '/' && !query)) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      out += '%';
      out += "0123456789ABCDEF"[byte >> 4];
      out += "0123456789ABCDEF"[byte & 15U];
    }
  }
  return out;
}

}  // namespace

Value filter_upper(Runtime& runtime, const Value& value, const Bound&) {
  return changed(runtime, value, upper_case);
}
Value filter_lower(Runtime& runtime, const Value& value, const Bound&) {
  return changed(runtime, value, lower_case);
}
Value filter_capitalize(Runtime& runtime, const Value& value, const Bound&) {
  return changed(runtime, value, capitalized);
}

Value filter_title(Runtime& runtime, const Value& value, const Bound&) {
  const Text text = soft_text(value, runtime.budget);
  runtime.budget.allocate(text.size());
  return text.made(titled(text.bytes())).with_markup(false);
}

Value filter_trim(Runtime& runtime, const Value& value, const Bound& bound) {
  const Text text = soft_text(value, runtime.budget);
  runtime.budget.allocate(text.size());
  return stripped_text(text, bound.find(0), true, true);
}

Value filter_replace(Runtime& runtime, const Value& value, const Bound& bound) {
  const std::int64_t count = bound.find(2) == nullptr || bound[2].is_none() ? -1 : bound.integer(2, -1);
  Budget& budget = runtime.budget;
  return replaced(to_text(value, budget), to_text(bound[0], budget), to_text(bound[1], budget), count,
                  budget);
}

Value filter_indent(Runtime& runtime, const Value& value, const Bound& bound) {
  Text text = text_of(value, "indent");
  constexpr std::int64_t kWidest = 100'000;
  const bool is_text = bound.find(0) != nullptr && bound[0].is_text();
  const auto width = std::clamp<std::int64_t>(is_text ? 0 : bound.integer(0, 4), 0, kWidest);
  const Text indention = is_text ? bound[0].text() : Text(std::string(static_cast<std::size_t>(width), ' '));
  text.append_bytes("\n");
  const std::vector<Value> lines = split_lines(text, false);
  Text out = Text("").with_markup(text.markup());
  if (bound.flag(1, false)) out.append(indention);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    runtime.budget.allocate(lines[i].text().size() + indention.size() + 1);
    if (i > 0) out.append_bytes("\n");
    if (i > 0 && (bound.flag(2, false) || !lines[i].text().empty())) out.append(indention);
    out.append(lines[i].text());
  }
  return out;
}

Value filter_center(Runtime& runtime, const Value& value, const Bound& bound) {
  return centered(soft_text(value, runtime.budget), bound.integer(0, 80), " ", runtime.budget);
}

Value filter_truncate(Runtime& runtime, const Value& value, const Bound& bound) {
  const Text end = bound.find(2) == nullptr ? Text("...") : bound.text(2);
  const std::int64_t most = bound.integer(0, 255);
  const bool has_leeway = bound.find(3) != nullptr && !bound[3].is_none();
  const std::int64_t leeway = has_leeway ? bound.integer(3, 5) : 5;
  const auto end_size = static_cast<std::int64_t>(count_characters(end.bytes()));
  if (most < end_size) refuse("truncate: expected length >= ", end_size, ", got ", most);
  if (leeway < 0) refuse("truncate: expected leeway >= 0, got ", leeway);
  const auto size = static_cast<std::int64_t>(length(value));
  if (size - leeway <= most) return value;
  const Text& text = text_of(value, "truncate");
  const std::size_t cut = character_offset(text.bytes(), static_cast<std::size_t>(most - end_size));
  const std::size_t space = bound.flag(1, false) ? std::string::npos : text.bytes().substr(0, cut).rfind(' ');
  Text out = text.part(0, std::min(space, cut));
  runtime.budget.allocate(out.size() + end.size());
  out.append(end);
  return out;
}

Value filter_wordcount(Runtime& runtime, const Value& value, const Bound&) {
  const Text text = soft_text(value, runtime.budget);
  std::int64_t count = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const bool word = is_word_character(next_character(text.bytes(), at));
    if (word && !inside) ++count;
    inside = word;
  }
  return count;
}

Value filter_format(Runtime& runtime, const Value& value, const Bound& bound) {
  const Arguments& rest = bound.rest();
  if (!rest.positional.empty() && !rest.named.empty()) {
    refuse("can't handle positional and keyword arguments at the same time");
  }
  const Text text = soft_text(value, runtime.budget);
  if (rest.named.empty()) return percent_format(text, Value::tuple(rest.positional), runtime);
  Dict values;
  for (const auto& [name, given] : rest.named) values.set(name, given);
  return percent_format(text, Value::dict(std::move(values)), runtime);
}

Value filter_string(Runtime& runtime, const Value& value, const Bound&) {
  return soft_text(value, runtime.budget);
}

Value filter_safe(Runtime& runtime, const Value& value, const Bound&) {
  return soft_text(value, runtime.budget).with_markup(true);
}

Value filter_escape(Runtime& runtime, const Value& value, const Bound&) {
  return escaped(value, runtime.budget);
}

Value filter_forceescape(Runtime& runtime, const Value& value, const Bound&) {
  return escaped(to_text(value, runtime.budget), runtime.budget);
}

Value filter_urlencode(Runtime& runtime, const Value& value, const Bound&) {
  Budget& budget = runtime.budget;
  const auto quote = [&](const Value& part, bool query) {
    const Text text = to_text(part, budget);
    budget.allocate(text.size() * 3);
    return quoted(text.bytes(), query);
  };
  if (value.is_text() || !is_iterable(value)) return quote(value, false);
  std::string out;
  const Value pairs = value.is_dict() ? filter_items(runtime, value, Bound("items", "", {})) : value;
  for (const Value& pair : to_items(pairs, budget)) {
    const std::vector<Value> two = to_items(pair, budget);
    if (two.size() != 2) refuse("urlencode: pairs of two are expected, found ", two.size());
    if (!out.empty()) out += '&';
    out += quote(two[0], true) + "=" + quote(two[1], true);
  }
  return out;
}

}  // namespace lrqat::chat
