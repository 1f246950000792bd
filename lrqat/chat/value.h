// A value of a template, as Python has it: undefined, None, bool, int, float, str, list, tuple, dict, or an
// Object (object.h: namespaces, macros, loops, generators …). Lists and dicts never change once they are
// made: the sandbox of transformers forbids it too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/chat/budget.h"
#include "lrqat/chat/text.h"

namespace lrqat::chat {

class Dict;
class Object;
class Value;

struct Sequence {
  std::vector<Value> items;
  bool tuple = false;
  bool group = false;  // the tuple (grouper, list) of groupby
  int depth = 1;       // levels of lists and dicts, this one included
  bool hashable = false;
};

class Value {
 public:
  Value() = default;                                                          // None
  Value(bool value) : data_(value) {}                                         // NOLINT
  Value(std::int64_t value) : data_(value) {}                                 // NOLINT
  Value(double value) : data_(value) {}                                       // NOLINT
  Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}  // NOLINT
  Value(std::string text) : Value(Text(std::move(text))) {}                   // NOLINT
  Value(const char* text) : Value(Text(text)) {}                              // NOLINT
  Value(std::shared_ptr<Object> object) : data_(std::move(object)) {}         // NOLINT

  // jinja2's Undefined; using it raises `message`.
  static Value undefined(std::string message);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value group(Value key, std::vector<Value> items);
  static Value dict(Dict dict);

  bool is_undefined() const { return std::holds_alternative<Missing>(data_); }
  bool is_none() const { return std::holds_alternative<std::monostate>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_integer() || is_float(); }
  bool is_text() const { return std::holds_alternative<std::shared_ptr<const Text>>(data_); }
  bool is_sequence() const { return std::holds_alternative<std::shared_ptr<const Sequence>>(data_); }
  bool is_list() const { return is_sequence() && !sequence().tuple; }
  bool is_tuple() const { return is_sequence() && sequence().tuple; }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(data_); }
  bool is_object() const { return std::holds_alternative<std::shared_ptr<Object>>(data_); }

  // Of the kind that is_… says; as Python's bool is an int, integer() takes one too.
  std::int64_t integer() const { return is_bool() ? std::get<bool>(data_) : std::get<std::int64_t>(data_); }
  bool is_whole() const { return is_bool() || is_integer(); }
  double real() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }
  bool boolean() const { return std::get<bool>(data_); }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const std::string& bytes() const { return text().bytes(); }
  const Sequence& sequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  const std::vector<Value>& items() const { return sequence().items; }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  const std::shared_ptr<Object>& object() const { return std::get<std::shared_ptr<Object>>(data_); }
  template <typename T>  // the object as T; nullptr: it is none
  T* object_as() const {
    return is_object() ? dynamic_cast<T*>(object().get()) : nullptr;
  }
  const std::string& undefined_message() const { return *std::get<Missing>(data_); }

  bool truth() const;
  std::string type_name() const;           // Python's: "str", "NoneType" …
  bool same_as(const Value& other) const;  // Python's `is`, with equal numbers and texts taken for the same
  int depth() const;                       // of lists, dicts and objects inside each other
  [[noreturn]] void raise_undefined() const { throw Failure(undefined_message()); }

 private:
  using Missing = std::shared_ptr<const std::string>;

  std::variant<std::monostate, Missing, bool, std::int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>
      data_;
};

// A dict in the order of insertion.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  // Failure where the key is a list, a dict …: it has no hash.
  void set(const Value& key, Value value, Budget& budget);
  void set(std::string key, Value value);
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key, Budget& budget) const;
  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  friend class Value;
  void add(Value key, Value value);
  // size() where there is no such key
  std::size_t place_of(std::string_view key) const;
  std::size_t place_of(const Value& key, Budget& budget) const;

  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> places_;  // of the texts among the keys, where there are many
  bool only_texts_ = true;
  int depth_ = 1;
};

bool is_hashable(const Value& key);  // can be the key of a dict

inline constexpr int kDeepestValue = 400;

// Texts of the members of a message get that message's number as their origin, but not its role. Error where
// a number is beyond what a template can hold.
Value from_json(const OrderedJson& json, Origin origin = {});
// The messages with their numbers; Error where they are no list of objects.
Value messages_from_json(const OrderedJson& messages);

}  // namespace lrqat::chat
