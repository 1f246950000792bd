#include "lrqat/chat/split.h"

#include <algorithm>

#include "lrqat/chat/characters.h"

namespace lrqat::chat {
namespace {

constexpr std::size_t kAll = static_cast<std::size_t>(-1);

// Words between white space, from the left; the last one takes the rest where there were `most` cuts.
std::vector<Value> words(const Text& text, std::size_t most) {
  std::vector<Value> out;
  const std::string_view bytes = text.bytes();
  std::size_t at = 0;
  while (true) {
    at += stripped(bytes.substr(at), true, false).begin;
    if (at >= bytes.size()) return out;
    if (out.size() == most) {
      out.emplace_back(text.part(at, at + stripped(bytes.substr(at), false, true).end));
      return out;
    }
    const std::size_t begin = at;
    std::size_t end = at;
    while (at < bytes.size() && !is_space(next_character(bytes, at))) end = at;
    out.emplace_back(text.part(begin, end));
    at = end;
  }
}

std::vector<Value> words_from_right(const Text& text, std::size_t most) {
  std::vector<Value> out;
  const std::string_view bytes = text.bytes();
  std::size_t end = bytes.size();
  while (true) {
    end = stripped(bytes.substr(0, end), false, true).end;
    if (end == 0) break;
    std::size_t begin = end, at = end;
    if (out.size() == most) {
      begin = stripped(bytes.substr(0, end), true, false).begin;
      out.emplace_back(text.part(begin, end));
      break;
    }
    while (at > 0 && !is_space(previous_character(bytes, at))) begin = at;
    out.emplace_back(text.part(begin, end));
    end = begin;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<Value> pieces(const Text& text, const std::string& separator, std::size_t most) {
  std::vector<Value> out;
  std::size_t begin = 0;
  for (std::size_t at = text.bytes().find(separator); at != std::string::npos && out.size() < most;
       at = text.bytes().find(separator, begin)) {
    out.emplace_back(text.part(begin, at));
    begin = at + separator.size();
  }
  out.emplace_back(text.part(begin, text.size()));
  return out;
}

std::vector<Value> pieces_from_right(const Text& text, const std::string& separator, std::size_t most) {
  std::vector<Value> out;
  std::size_t end = text.size();
  while (end >= separator.size() && out.size() < most) {
    const std::size_t at = text.bytes().rfind(separator, end - separator.size());
    if (at == std::string::npos) break;
    out.emplace_back(text.part(at + separator.size(), end));
    end = at;
  }
  out.emplace_back(text.part(0, end));
  std::reverse(out.begin(), out.end());
  return out;
}

Value split_text(Runtime& runtime, const Value& self, const Bound& bound, bool from_right) {
  const Text& text = self.text();
  const std::int64_t given = bound.integer(1, -1);
  const std::size_t most = given < 0 ? kAll : static_cast<std::size_t>(given);
  runtime.budget.allocate(text.size() * 2);
  if (bound.find(0) == nullptr || bound[0].is_none()) {
    return Value::list(from_right ? words_from_right(text, most) : words(text, most));
  }
  const std::string& separator = bound.text(0).bytes();
  if (separator.empty()) refuse("empty separator");
  runtime.budget.allocate(text.size() / separator.size() * sizeof(Value));
  return Value::list(from_right ? pieces_from_right(text, separator, most) : pieces(text, separator, most));
}

Value parted(const Text& text, std::size_t at, std::size_t size) {
  return Value::tuple({text.part(0, at), text.part(at, at + size), text.part(at + size, text.size())});
}

}  // namespace

Value split(Runtime& runtime, const Value& self, const Bound& bound) {
  return split_text(runtime, self, bound, false);
}
Value rsplit(Runtime& runtime, const Value& self, const Bound& bound) {
  return split_text(runtime, self, bound, true);
}

std::vector<Value> split_lines(const Text& text, bool keep_ends) {
  std::vector<Value> out;
  const std::string& bytes = text.bytes();
  std::size_t begin = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t end = at;
    const char32_t c = next_character(bytes, at);
    if (!is_line_break(c)) continue;
    if (c == '\r' && at < bytes.size() && bytes[at] == '\n') ++at;
    out.emplace_back(text.part(begin, keep_ends ? at : end));
    begin = at;
  }
  if (begin < bytes.size()) out.emplace_back(text.part(begin, bytes.size()));
  return out;
}

Value split_lines_method(Runtime& runtime, const Value& self, const Bound& bound) {
  runtime.budget.allocate(self.text().size() * 2);
  return Value::list(split_lines(self.text(), bound.flag(0, false)));
}

Value partition(Runtime& runtime, const Value& self, const Bound& bound) {
  const std::string& separator = bound.text(0).bytes();
  if (separator.empty()) refuse("empty separator");
  runtime.budget.allocate(self.text().size());
  const std::size_t at = self.bytes().find(separator);
  if (at == std::string::npos) return Value::tuple({self, Value(""), Value("")});
  return parted(self.text(), at, separator.size());
}

Value rpartition(Runtime& runtime, const Value& self, const Bound& bound) {
  const std::string& separator = bound.text(0).bytes();
  if (separator.empty()) refuse("empty separator");
  runtime.budget.allocate(self.text().size());
  const std::size_t at = self.bytes().rfind(separator);
  if (at == std::string::npos) return Value::tuple({Value(""), Value(""), self});
  return parted(self.text(), at, separator.size());
}

Value expand_tabs(Runtime& runtime, const Value& self, const Bound& bound) {
  const std::int64_t size = bound.integer(0, 8);
  Text out = Text("").with_markup(self.text().markup());
  std::int64_t column = 0;
  for (std::size_t at = 0; at < self.text().size();) {
    const std::size_t begin = at;
    const char32_t c = next_character(self.bytes(), at);
    if (c == '\t') {
      const std::int64_t width = size > 0 ? size - column % size : 0;
      runtime.budget.allocate(static_cast<std::size_t>(width));
      out.append_bytes(std::string(static_cast<std::size_t>(width), ' '));
      column += width;
    } else {
      out.append(self.text().part(begin, at));
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return out;
}

bool is_of_case(std::string_view text, bool upper) {
  bool found = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (is_title(c) || (upper ? is_lower(c) : is_upper(c))) return false;
    found = found || (upper ? is_upper(c) : is_lower(c));
  }
  return found;
}

Text stripped_text(const Text& text, const Value* characters, bool left, bool right) {
  const bool given = characters != nullptr && !characters->is_none();
  if (given && characters->is_undefined()) characters->raise_undefined();
  if (given && !characters->is_text()) refuse("strip arg must be None or str");
  const Part part =
      given ? stripped(text.bytes(), left, right, characters->bytes()) : stripped(text.bytes(), left, right);
  return text.part(part.begin, part.end);
}

Text replaced(const Text& text, const Text& old, const Text& by, std::int64_t count, Budget& budget) {
  const auto most = count < 0 ? kAll : static_cast<std::size_t>(count);
  Text out = Text("").with_markup(text.markup());
  std::size_t begin = 0, done = 0;
  const auto put = [&](std::size_t at) {
    out.append(text.part(begin, at));
    out.append(by);
    budget.allocate(by.size() + at - begin + 1);
    begin = at + old.size();
    ++done;
  };
  if (old.empty()) {  // between all characters
    for (std::size_t at = 0; done < most; next_character(text.bytes(), at)) {
      put(at);
      if (at >= text.size()) break;
    }
  } else {
    for (std::size_t at = text.bytes().find(old.bytes()); at != std::string::npos && done < most;
         at = text.bytes().find(old.bytes(), begin)) {
      put(at);
    }
  }
  budget.allocate(text.size() - begin);
  out.append(text.part(begin, text.size()));
  return out;
}

Text joined(const Text& separator, const std::vector<Text>& parts, Budget& budget) {
  Text out = Text("").with_markup(separator.markup());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    budget.allocate(parts[i].size() + separator.size());
    if (i > 0) out.append(separator);
    out.append(parts[i]);
  }
  return out;
}

Text padded(const Text& text, std::size_t left, std::size_t right, std::string_view fill, Budget& budget) {
  budget.allocate(std::min(left, std::size_t{1} << 40) * fill.size() +
                  std::min(right, std::size_t{1} << 40) * fill.size());
  Text out = Text("").with_markup(text.markup());
  for (std::size_t i = 0; i < left; ++i) out.append_bytes(fill);
  out.append(text);
  for (std::size_t i = 0; i < right; ++i) out.append_bytes(fill);
  return out;
}

Text centered(const Text& text, std::int64_t width, std::string_view fill, Budget& budget) {
  const auto size = static_cast<std::int64_t>(count_characters(text.bytes()));
  const std::int64_t missing = std::max<std::int64_t>(width - size, 0);
  const std::int64_t left = missing / 2 + (missing & width & 1);
  return padded(text, static_cast<std::size_t>(left), static_cast<std::size_t>(missing - left), fill, budget);
}

}  // namespace lrqat::chat
