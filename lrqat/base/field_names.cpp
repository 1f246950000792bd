#include "lrqat/base/field_names.h"

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat {
namespace {

bool is_letter(char c) { return c >= 'a' && c <= 'z'; }

bool is_name(std::string_view text) {
  const auto fits = [](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && is_letter(text.front()) && std::all_of(text.begin(), text.end(), fits);
}

}  // namespace

std::string field_name(std::string_view name) { return concat("`", name, "`"); }

std::string with_field_names(std::string_view message, std::string_view prefix) {
  std::string out;
  while (!message.empty()) {
    const std::size_t begin = std::min(message.find('`'), message.size());
    out += message.substr(0, begin);
    message.remove_prefix(begin);
    if (message.empty()) break;
    const std::size_t end = message.find('`', 1);
    const std::string_view inside = message.substr(1, end == std::string_view::npos ? end : end - 1);
    if (end != std::string_view::npos && is_name(inside)) {
      out += concat(prefix, inside);
      message.remove_prefix(end + 1);
    } else {
      out.push_back('`');
      message.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace lrqat
