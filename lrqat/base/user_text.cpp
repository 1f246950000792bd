#include "lrqat/base/user_text.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "lrqat/base/error.h"

namespace lrqat {
namespace {

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// The first `begin` and last `end` bytes or so of a longer text, cut between UTF-8 characters.
std::string without_middle(std::string_view text, std::size_t begin, std::size_t end) {
  if (text.size() <= begin + end) return std::string(text);
  std::size_t tail = text.size() - end;
  while (begin > 0 && continues_character(text[begin])) --begin;
  while (tail < text.size() && continues_character(text[tail])) ++tail;
  return concat(text.substr(0, begin), "…", text.substr(tail));
}

void append_escaped(std::string& out, char c, bool keep_line_ends) {
  const auto byte = static_cast<unsigned char>(c);
  if ((byte >= 0x20 && byte != 0x7F) || (c == '\n' && keep_line_ends)) {
    out.push_back(c);
  } else if (c == '\n' || c == '\t' || c == '\r') {
    out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r";
  } else {
    char text[8];
    std::snprintf(text, sizeof text, "\\x%02X", byte);
    out += text;
  }
}

std::string escaped(std::string_view text, bool keep_line_ends) {
  std::string out;
  for (const char c : text) append_escaped(out, c, keep_line_ends);
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Numbers of a word as long as no number is that means something.
std::string without_long_numbers(std::string_view word) {
  constexpr std::size_t kDigits = 40, kShown = 20;
  std::string out;
  while (!word.empty()) {
    const bool digits = is_digit(word.front());
    const auto end = std::find_if(word.begin(), word.end(), [&](char c) { return is_digit(c) != digits; });
    const std::string_view part = word.substr(0, static_cast<std::size_t>(end - word.begin()));
    out += digits && part.size() > kDigits ? without_middle(part, kShown, kShown) : std::string(part);
    word.remove_prefix(part.size());
  }
  return out;
}

// Edits (insert, drop, replace, swap neighbours) that make one word of the other.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min(
          {cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string quote(std::string_view text) {
  constexpr std::size_t kBegin = 60, kEnd = 20;
  const std::string shown = concat("\"", escaped(without_middle(text, kBegin, kEnd), false), "\"");
  return text.size() <= kBegin + kEnd ? shown : concat(shown, " (", text.size(), " bytes)");
}

std::string readable(std::string_view message) {
  constexpr std::size_t kWord = 300, kMessage = 3000;  // paths and lists of known names fit
  std::string out;
  while (!message.empty()) {
    const std::size_t size = std::min(message.find_first_of(" \n"), message.size());
    const std::string word = without_long_numbers(message.substr(0, size));
    out += escaped(word.size() <= kWord ? word : without_middle(word, 60, 20), true);
    message.remove_prefix(size);
    if (message.empty()) break;
    out.push_back(message.front());
    message.remove_prefix(1);
  }
  return without_middle(out, kMessage / 2, kMessage / 2);
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  constexpr std::size_t kLongest = 64;  // no flag or field is longer
  if (word.size() < 2 || word.size() > kLongest) return {};
  const std::string* nearest = nullptr;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    // The beginning of a name is as near as one edit.
    const std::size_t distance = candidate.starts_with(word) ? 1 : edit_distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = &candidate;
  }
  return nearest == nullptr ? std::string() : concat("; did you mean ", *nearest, "?");
}

}  // namespace lrqat
