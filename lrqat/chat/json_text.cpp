#include "lrqat/chat/json_text.h"

#include <algorithm>
#include <cmath>

#include "lrqat/chat/characters.h"

namespace lrqat::chat {
namespace {

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const Bound& bound)
      : budget_(budget), ascii_(bound.flag(0, false)), sorted_(bound.flag(3, false)) {
    if (const Value* indent = bound.find(1); indent != nullptr && !indent->is_none()) {
      pretty_ = true;
      if (!indent->is_text() && !indent->is_whole()) refuse("tojson: indent must be an integer or a str");
      if (indent->is_text()) indent_ = indent->bytes();
      if (indent->is_whole())
        indent_.assign(
            static_cast<std::size_t>(std::clamp<std::int64_t>(indent->integer(), 0, kWidestIndent)), ' ');
      item_separator_.assign(1, ',');
    }
    if (const Value* separators = bound.find(2); separators != nullptr && !separators->is_none()) {
      const std::vector<Value> two = to_items(*separators, budget);
      if (two.size() != 2 || !two[0].is_text() || !two[1].is_text())
        refuse("tojson: separators must be two strs");
      item_separator_ = two[0].bytes();
      key_separator_ = two[1].bytes();
    }
  }

  Value run(const Value& value) {
    write(value, 0);
    // All of it comes from the message from which its texts come.
    return Text(std::move(out_), mixed_ ? Origin{} : origin_);
  }

 private:
  static constexpr std::int64_t kWidestIndent = 1000;

  void add(std::string_view text) {
    budget_.allocate(text.size());
    out_ += text;
  }

  void write(const Value& value, std::size_t level) {
    const Budget::Level guard(budget_);
    budget_.step();
    if (value.is_none()) return add("null");
    if (value.is_bool()) return add(value.boolean() ? "true" : "false");
    if (value.is_integer()) return add(std::to_string(value.integer()));
    if (value.is_float()) return add(real(value.real()));
    if (value.is_text()) {
      note_origin(value.text());
      return write_text(value.bytes());
    }
    if (value.is_sequence()) return write_list(value.items(), level);
    if (value.is_dict()) return write_dict(value.dict(), level);
    refuse("Object of type ", value.type_name(), " is not JSON serializable");
  }

  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return repr_of_float(value);
  }

  void note_origin(const Text& text) {
    if (text.empty()) return;
    mixed_ = mixed_ || (seen_ && text.common_origin() != origin_);
    origin_ = text.common_origin();
    seen_ = true;
  }

  void write_text(const std::string& text) {
    add("\"");
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      const char32_t c = next_character(text, at);
      escape(c, std::string_view(text).substr(begin, at - begin));
    }
    add("\"");
  }

  void escape(char32_t c, std::string_view bytes) {
    constexpr std::string_view kCharacters = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    const std::size_t special = c < 0x80 ? kCharacters.find(static_cast<char>(c)) : std::string_view::npos;
    if (special != std::string_view::npos) {
      add(std::string("\\") + kLetters[special]);
    } else if (c < 0x20 || (ascii_ && c > 0x7E && c < 0x10000)) {
      escape_unit(c);
    } else if (ascii_ && c >= 0x10000) {
      escape_unit(0xD800 + ((c - 0x10000) >> 10));
      escape_unit(0xDC00 + ((c - 0x10000) & 0x3FFU));
    } else {
      add(bytes);
    }
  }

  void escape_unit(char32_t unit) {
    std::string text = "\\u";
    for (const int shift : {12, 8, 4, 0}) text += "0123456789abcdef"[unit >> shift & 15U];
    add(text);
  }

  void break_line(std::size_t level) {
    if (!pretty_) return;
    add("\n");
    for (std::size_t i = 0; i < level; ++i) add(indent_);
  }

  void write_list(const std::vector<Value>& items, std::size_t level) {
    if (items.empty()) return add("[]");
    add("[");
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) add(item_separator_);
      break_line(level + 1);
      write(items[i], level + 1);
    }
    break_line(level);
    add("]");
  }

  static std::string key_text(const Value& key) {
    if (key.is_text()) return key.bytes();
    if (key.is_none()) return "null";
    if (key.is_bool()) return key.boolean() ? "true" : "false";
    if (key.is_integer()) return std::to_string(key.integer());
    if (key.is_float()) return real(key.real());
    refuse("keys must be str, int, float, bool or None, not ", key.type_name());
  }

  void write_dict(const Dict& dict, std::size_t level) {
    if (dict.size() == 0) return add("{}");
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (sorted_) {
      std::stable_sort(entries.begin(), entries.end(), [&](const Dict::Entry* a, const Dict::Entry* b) {
        return compare(Order::kLess, a->first, b->first, budget_);
      });
    }
    add("{");
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) add(item_separator_);
      break_line(level + 1);
      write_text(key_text(entries[i]->first));
      add(key_separator_);
      write(entries[i]->second, level + 1);
    }
    break_line(level);
    add("}");
  }

  Budget& budget_;
  bool ascii_;
  bool sorted_;
  bool pretty_ = false;
  std::string indent_;
  std::string item_separator_ = ", ";
  std::string key_separator_ = ": ";
  std::string out_;
  Origin origin_;
  bool seen_ = false;   // a text
  bool mixed_ = false;  // texts of several origins
};

}  // namespace

Value to_json(Runtime& runtime, const Value& value, const Bound& bound) {
  return JsonWriter(runtime.budget, bound).run(value);
}

}  // namespace lrqat::chat
