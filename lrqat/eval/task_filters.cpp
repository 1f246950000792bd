#include "lrqat/eval/task_filters.h"

#include <algorithm>
#include <array>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/text/unicode.h"

namespace lrqat::eval {
namespace {

std::string strip(std::string_view text) { return std::string(python_strip(text)); }
std::string_view python_lstrip(std::string_view text) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t next = begin;
    if (!is_python_space(text::next_character(text, next))) break;
    begin = next;
  }
  return text.substr(begin);
}
std::string lstrip(std::string_view text) { return std::string(python_lstrip(text)); }
std::string capitalize(std::string_view text) { return text::capitalize(text); }

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t found; (found = text.find(from, begin)) != std::string_view::npos;) {
    out.append(text, begin, found - begin).append(to);
    begin = found + from.size();
  }
  return out.append(text, begin);
}

std::string spaces(std::string_view text) { return replaced(text, "_", " "); }

// re.sub(r"\[.*?\]", "", text); a dot is no line end.
std::string without_brackets(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t close = text[i] == '[' ? text.find(']', i) : std::string_view::npos;
    const bool bracket = close != std::string_view::npos && text.find('\n', i) > close;
    bracket ? void(i = close) : void(out += text[i]);
  }
  return out;
}

// HellaSwag's marks of the WikiHow pages.
std::string hellaswag(std::string_view text) {
  return replaced(without_brackets(replaced(python_strip(text), " [title]", ". ")), "  ", " ");
}

// WinoGrande: the sentence up to its blank, and what follows it.
std::size_t blank_of(std::string_view text) {
  const std::size_t blank = text.find('_');
  if (blank == std::string_view::npos) fail("no blank (_) in the sentence ", quote(text));
  return blank;
}
std::string before_blank(std::string_view text) { return std::string(text.substr(0, blank_of(text))); }
std::string after_blank(std::string_view text) { return strip(text.substr(blank_of(text) + 1)); }

// LAMBADA: " ".join(text.split(" ")[:-1]) and text.split(" ")[-1].
std::string before_last_word(std::string_view text) {
  const std::size_t space = text.rfind(' ');
  return space == std::string_view::npos ? std::string() : std::string(text.substr(0, space));
}
std::string last_word(std::string_view text) {
  const std::size_t space = text.rfind(' ');
  return std::string(space == std::string_view::npos ? text : text.substr(space + 1));
}

struct Row {
  std::string_view name;
  TaskFilter filter;
};
constexpr std::array kFilters{
    Row{"strip", strip},
    Row{"lstrip", lstrip},
    Row{"capitalize", capitalize},
    Row{"spaces", spaces},
    Row{"hellaswag", hellaswag},
    Row{"before_blank", before_blank},
    Row{"after_blank", after_blank},
    Row{"before_last_word", before_last_word},
    Row{"last_word", last_word},
    Row{"wikitext_detokenize", wikitext_detokenize},
};

// re.sub(open + r"\s*([^close]*?)\s*" + close, without the inner white space): pairs from the left, each
// closed by the first closing mark after it.
std::string tightened(std::string_view text, char open, char close) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t end = text[i] == open ? text.find(close, i + 1) : std::string_view::npos;
    if (end == std::string_view::npos) {
      out += text[i];
      continue;
    }
    (out += open).append(python_strip(text.substr(i + 1, end - i - 1))) += close;
    i = end;
  }
  return out;
}

// re.sub(r"/' [0-9]/", r"/'[0-9]/", text), whose replacement is the text "/'[0-9]/" itself.
std::string slashed_contractions(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const bool match = text.substr(i, 3) == "/' " && i + 4 < text.size() && text[i + 3] >= '0' &&
                       text[i + 3] <= '9' && text[i + 4] == '/';
    match ? out += "/'[0-9]/" : out += text[i];
    i += match ? 5 : 1;
  }
  return out;
}

}  // namespace

TaskFilter find_task_filter(std::string_view name, const std::string& where) {
  const auto* row =
      std::find_if(kFilters.begin(), kFilters.end(), [&](const Row& r) { return r.name == name; });
  if (row != kFilters.end()) return row->filter;
  std::string known;
  for (const Row& filter : kFilters) known += concat(known.empty() ? "" : ", ", filter.name);
  fail(where, ": filter ", quote(name), " is not known; known: ", known);
}

bool is_python_space(char32_t character) {
  return text::is_white_space(character) || (character >= 0x1C && character <= 0x1F);
}

std::string_view python_rstrip(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t begin = end;
    if (!is_python_space(text::previous_character(text, begin))) break;
    end = begin;
  }
  return text.substr(0, end);
}

std::string_view python_strip(std::string_view text) { return python_rstrip(python_lstrip(text)); }

std::int64_t python_word_count(std::string_view text) {
  std::int64_t count = 1;
  bool in_space = false;
  for (std::size_t i = 0; i < text.size();) {
    const bool space = is_python_space(text::next_character(text, i));
    count += space && !in_space;
    in_space = space;
  }
  return count;
}

std::int64_t python_length(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

std::string wikitext_detokenize(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> kBefore[] = {
      {" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."}, {" : ", ": "}, {" ; ", "; "},
      {" . ", ". "},  {" ! ", "! "},  {" ? ", "? "},  {" , ", ", "},
  };
  constexpr std::pair<std::string_view, std::string_view> kAfter[] = {
      {"= = = =", "===="}, {"= = =", "==="}, {"= =", "=="},  {" \xC2\xB0 ", "\xC2\xB0"},
      {" \n", "\n"},       {"\n ", "\n"},    {" N ", " 1 "}, {" 's", "'s"},
  };
  std::string out = slashed_contractions(replaced(text, "s '", "s'"));
  for (const auto& [from, to] : kBefore) out = replaced(out, from, to);
  for (const auto& [open, close] : {std::pair('(', ')'), {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}}) {
    out = tightened(out, open, close);
  }
  for (const auto& [from, to] : kAfter) out = replaced(out, from, to);
  return out;
}

}  // namespace lrqat::eval
