#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>

#include "lrqat/base/utf8.h"
#include "lrqat/chat/characters.h"
#include "lrqat/chat/format.h"
#include "lrqat/chat/methods.h"
#include "lrqat/chat/number_text.h"

namespace lrqat::chat {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

struct Spec : NumberFormat {
  bool aligned = false;  // an alignment is given
};

// [[fill]align][sign][#][0][width][grouping][.precision][type]
Spec read_spec(std::string_view text) {
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  std::size_t first = 0;
  if (!text.empty()) next_character(text, first);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    spec.aligned = true;
    text.remove_prefix(first + 1);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    spec.aligned = true;
    text.remove_prefix(1);
  }
  const auto take = [&](std::string_view set) -> char {
    if (text.empty() || set.find(text[0]) == std::string_view::npos) return 0;
    const char c = text[0];
    text.remove_prefix(1);
    return c;
  };
  const auto number = [&] {
    std::size_t value = 0;
    while (const char digit = take("0123456789"))
      value = std::min(value * 10 + static_cast<std::size_t>(digit - '0'), kWidest);
    return value;
  };
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternate = take("#") != 0;
  if (take("0") != 0 && !spec.aligned) {
    spec.fill.assign(1, '0');
    spec.align = '=';
    spec.aligned = true;
  }
  spec.width = number();
  spec.grouping = take(",_");
  if (take(".") != 0) {
    if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0])))
      refuse("Format specifier missing precision");
    spec.precision = static_cast<int>(number());
  }
  if (text.size() > 1) refuse("Invalid format specifier");
  if (!text.empty()) spec.type = text[0];
  return spec;
}

Text format_text(const Text& text, Spec spec, Budget& budget) {
  if (spec.type != 0 && spec.type != 's')
    refuse("Unknown format code '", spec.type, "' for object of type 'str'");
  if (spec.align == '=' && spec.fill != "0") refuse("'=' alignment not allowed in string format specifier");
  if (!spec.aligned || spec.align == '=') spec.align = '<';
  const Text shown =
      spec.precision < 0
          ? text
          : text.part(0, character_offset(text.bytes(), static_cast<std::size_t>(spec.precision)));
  const std::size_t size = count_characters(shown.bytes());
  const std::size_t missing = spec.width > size ? spec.width - size : 0;
  const std::size_t left = spec.align == '>' ? missing : spec.align == '^' ? missing / 2 : 0;
  return padded(shown, left, missing - left, spec.fill, budget);
}

// format(value, spec)
Text format_value(const Value& value, const std::string& text, Runtime& runtime) {
  if (text.empty()) return value.is_text() ? value.text() : to_text(value, runtime.budget);
  const Spec spec = read_spec(text);
  if (value.is_text()) return format_text(value.text(), spec, runtime.budget);
  if (!value.is_number()) refuse("unsupported format string passed to ", value.type_name(), ".__format__");
  if (spec.type == 's') refuse("Unknown format code 's' for object of type '", value.type_name(), "'");
  if (spec.precision > kMostDigits) refuse("more than ", kMostDigits, " digits behind the point");
  runtime.budget.allocate(spec.width * spec.fill.size());
  if (value.is_float()) return arranged(std::signbit(value.real()), real_digits(value.real(), spec), spec);
  if (spec.type == 'c') {
    std::string character;
    append_utf8(character, static_cast<char32_t>(std::clamp<std::int64_t>(value.integer(), 0, 0x10FFFF)));
    return format_text(character, {}, runtime.budget);
  }
  return arranged(value.integer() < 0, integer_digits(value.integer(), spec), spec);
}

class BraceFormat {
 public:
  BraceFormat(const Arguments& arguments, Runtime& runtime, bool markup)
      : arguments_(arguments), runtime_(runtime), markup_(markup) {}

  Text run(const Text& format, int depth) {
    if (depth > 2) refuse("Max string recursion exceeded");
    Text out = Text("").with_markup(markup_ && depth == 1);
    const std::string& bytes = format.bytes();
    std::size_t at = 0;
    while (at < bytes.size()) {
      const std::size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
      append(out, format.part(at, brace));
      if (brace >= bytes.size()) break;
      const bool doubled = brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace];
      if (doubled) {
        append(out, format.part(brace, brace + 1));
        at = brace + 2;
        continue;
      }
      if (bytes[brace] == '}') refuse("Single '}' encountered in format string");
      const std::size_t end = field_end(bytes, brace + 1);
      append(out, field(format.part(brace + 1, end), depth));
      at = end + 1;
    }
    return out;
  }

 private:
  // The offset of the brace that closes the field which begins there.
  static std::size_t field_end(const std::string& bytes, std::size_t begin) {
    int open = 1;
    for (std::size_t at = begin; at < bytes.size(); ++at) {
      if (bytes[at] == '{') ++open;
      if (bytes[at] == '}' && --open == 0) return at;
    }
    refuse("expected '}' before end of string");
  }

  // name[!conversion][:spec]
  Text field(const Text& text, int depth) {
    const std::string& bytes = text.bytes();
    std::size_t name_end = 0;
    for (bool inside = false; name_end < bytes.size(); ++name_end) {
      if (bytes[name_end] == '[') inside = true;
      if (bytes[name_end] == ']') inside = false;
      if (!inside && (bytes[name_end] == '!' || bytes[name_end] == ':')) break;
    }
    Value value = lookup(bytes.substr(0, name_end));
    std::size_t at = name_end;
    if (at < bytes.size() && bytes[at] == '!') {
      value = converted(value, at + 1 < bytes.size() ? bytes[at + 1] : '\0');
      at += 2;
      if (at < bytes.size() && bytes[at] != ':') refuse("expected ':' after conversion specifier");
    }
    const Text spec = at < bytes.size() ? run(text.part(at + 1, bytes.size()), depth + 1) : Text();
    Text out = format_value(value, spec.bytes(), runtime_);
    return markup_ ? escaped(out, runtime_.budget) : out;
  }

  Value converted(const Value& value, char conversion) {
    if (conversion == 's') return to_text(value, runtime_.budget);
    if (conversion == 'r') return repr(value, runtime_.budget);
    refuse("Unknown conversion specifier '", conversion, "'");
  }

  // first(.attribute|[item])*
  Value lookup(const std::string& path) {
    std::size_t at = std::min(path.find_first_of(".["), path.size());
    Value value = argument(path.substr(0, at));
    while (at < path.size()) {
      const bool item = path[at] == '[';
      const std::size_t end =
          item ? path.find(']', at) : std::min(path.find_first_of(".[", at + 1), path.size());
      if (end == std::string::npos) refuse("Missing ']' in format string");
      const std::string part = path.substr(at + 1, end - at - 1);
      if (part.empty()) refuse("Empty attribute in format string");
      value = !item             ? attribute_of(value, part, runtime_)
              : is_number(part) ? item_of(value, Value(std::int64_t{std::stoll(part)}), runtime_)
                                : item_of(value, Value(part), runtime_);
      at = item ? end + 1 : end;
    }
    return value;
  }

  Value argument(const std::string& name) {
    if (name.empty() || is_number(name)) {
      const std::size_t index = name.empty() ? next_++ : static_cast<std::size_t>(std::stoll(name));
      if (index >= arguments_.positional.size()) {
        refuse("Replacement index ", index, " out of range for positional args tuple");
      }
      return arguments_.positional[index];
    }
    const Value* found = arguments_.find(name);
    if (found == nullptr) refuse("the format names the argument '", name, "', which is not given");
    return *found;
  }

  void append(Text& out, const Text& text) {
    runtime_.budget.allocate(text.size());
    out.append(text);
  }

  const Arguments& arguments_;
  Runtime& runtime_;
  bool markup_;
  std::size_t next_ = 0;
};

}  // namespace

Value brace_format(const Text& format, const Arguments& arguments, Runtime& runtime) {
  return BraceFormat(arguments, runtime, format.markup()).run(format, 1);
}

}  // namespace lrqat::chat
