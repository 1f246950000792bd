#include "lrqat/model/model_card.h"

#include <sstream>
#include <string_view>

#include "lrqat/base/file.h"
#include "lrqat/text/unicode.h"

namespace lrqat::model {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

std::string unquoted(std::string_view text) {
  text = trimmed(text);
  const bool quoted =
      text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  return std::string(quoted ? text.substr(1, text.size() - 2) : text);
}

std::vector<std::string> values_of(std::string_view text) {
  text = trimmed(text);
  if (text.empty() || text == "null" || text == "~") return {};
  if (text.front() != '[' || text.back() != ']') return {unquoted(text)};
  std::vector<std::string> values;
  std::istringstream items{std::string(text.substr(1, text.size() - 2))};
  for (std::string item; std::getline(items, item, ',');) {
    if (!trimmed(item).empty()) values.push_back(unquoted(item));
  }
  return values;
}

}  // namespace

ModelCard read_model_card(const std::filesystem::path& folder) {
  ModelCard card;
  const std::filesystem::path path = folder / "README.md";
  if (!std::filesystem::is_regular_file(path)) return card;
  const std::string text = read_text_file(path);
  std::istringstream lines(text.starts_with("\xef\xbb\xbf") ? text.substr(3) : text);
  std::string line, key;
  if (!std::getline(lines, line) || trimmed(line) != "---") return card;
  while (std::getline(lines, line) && trimmed(line) != "---") {
    if (!text::is_valid_utf8(line) || trimmed(line).starts_with('#')) continue;
    const std::string_view content = trimmed(line);
    const std::size_t colon = content.find(':');
    if (content.starts_with("- ")) {
      if (!key.empty()) card[key].push_back(unquoted(content.substr(2)));
    } else if (line.front() != ' ' && line.front() != '\t' && colon != std::string_view::npos) {
      key = std::string(content.substr(0, colon));
      if (auto values = values_of(content.substr(colon + 1)); !values.empty()) card[key] = std::move(values);
    } else {
      key.clear();  // something nested
    }
  }
  return card;
}

}  // namespace lrqat::model
