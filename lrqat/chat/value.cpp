#include "lrqat/chat/value.h"

#include <algorithm>
#include <limits>

#include "lrqat/chat/object.h"

namespace lrqat::chat {
namespace {

constexpr std::size_t kManyKeys = 16;  // from here on texts are looked up in a table

int check_depth(int depth) {
  if (depth > kDeepestValue) refuse("lists and dicts are nested deeper than ", kDeepestValue, " levels");
  return depth;
}

std::shared_ptr<Sequence> sequence_of(std::vector<Value> items, bool tuple) {
  auto sequence = std::make_shared<Sequence>();
  for (const Value& item : items) sequence->depth = std::max(sequence->depth, item.depth() + 1);
  check_depth(sequence->depth);
  sequence->hashable = tuple && std::all_of(items.begin(), items.end(), is_hashable);
  sequence->items = std::move(items);
  sequence->tuple = tuple;
  return sequence;
}

bool same_key(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_text() || b.is_text()) return a.is_text() && b.is_text() && a.bytes() == b.bytes();
  if (a.is_number() && b.is_number()) {
    return a.is_whole() && b.is_whole() ? a.integer() == b.integer() : a.real() == b.real();
  }
  if (!a.is_tuple() || !b.is_tuple()) return a.same_as(b);
  return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                    [&](const Value& x, const Value& y) { return same_key(x, y, budget); });
}

}  // namespace

bool is_hashable(const Value& key) {
  if (key.is_sequence()) return key.sequence().hashable;
  return !key.is_dict() && (!key.is_object() || key.object()->hashable());
}

Value Value::undefined(std::string message) {
  Value value;
  value.data_ = std::make_shared<const std::string>(std::move(message));
  return value;
}

Value Value::list(std::vector<Value> items) {
  Value value;
  value.data_ = std::shared_ptr<const Sequence>(sequence_of(std::move(items), false));
  return value;
}

Value Value::tuple(std::vector<Value> items) {
  Value value;
  value.data_ = std::shared_ptr<const Sequence>(sequence_of(std::move(items), true));
  return value;
}

Value Value::group(Value key, std::vector<Value> items) {
  auto sequence = sequence_of({std::move(key), list(std::move(items))}, true);
  sequence->group = true;
  Value value;
  value.data_ = std::shared_ptr<const Sequence>(std::move(sequence));
  return value;
}

Value Value::dict(Dict dict) {
  check_depth(dict.depth_);
  Value value;
  value.data_ = std::make_shared<const Dict>(std::move(dict));
  return value;
}

bool Value::truth() const {
  if (is_none() || is_undefined()) return false;
  if (is_whole()) return integer() != 0;
  if (is_float()) return real() != 0;
  if (is_text()) return !text().empty();
  if (is_sequence()) return !items().empty();
  if (is_dict()) return dict().size() > 0;
  return object()->truth();
}

std::string Value::type_name() const {
  if (is_none()) return "NoneType";
  if (is_undefined()) return "Undefined";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_float()) return "float";
  if (is_text()) return text().markup() ? "Markup" : "str";
  if (is_sequence()) return sequence().tuple ? "tuple" : "list";
  return is_dict() ? "dict" : object()->type_name();
}

bool Value::same_as(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_none()) return true;
  if (is_bool() || is_integer()) return integer() == other.integer();
  if (is_float()) return real() == other.real();
  if (is_text()) return text().bytes() == other.text().bytes();
  if (is_sequence()) return &sequence() == &other.sequence();
  if (is_dict()) return &dict() == &other.dict();
  return is_object() ? object() == other.object()
                     : std::get<Missing>(data_) == std::get<Missing>(other.data_);
}

int Value::depth() const {
  if (is_sequence()) return sequence().depth;
  if (is_dict()) return dict().depth();
  return is_object() ? object()->depth() : 0;
}

void Dict::add(Value key, Value value) {
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  only_texts_ = only_texts_ && key.is_text();
  if (key.is_text() && !places_.empty()) places_.emplace(key.bytes(), entries_.size());
  entries_.emplace_back(std::move(key), std::move(value));
  if (!places_.empty() || entries_.size() < kManyKeys) return;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].first.is_text()) places_.emplace(entries_[i].first.bytes(), i);
  }
}

std::size_t Dict::place_of(std::string_view key) const {
  if (!places_.empty()) {
    const auto place = places_.find(std::string(key));
    return place == places_.end() ? entries_.size() : place->second;
  }
  std::size_t i = 0;
  while (i < entries_.size() && !(entries_[i].first.is_text() && entries_[i].first.bytes() == key)) ++i;
  return i;
}

std::size_t Dict::place_of(const Value& key, Budget& budget) const {
  if (key.is_text()) return place_of(key.bytes());
  if (!is_hashable(key)) refuse("unhashable type: '", key.type_name(), "'");
  std::size_t i = only_texts_ ? entries_.size() : 0;
  while (i < entries_.size() && !same_key(entries_[i].first, key, budget)) ++i;
  return i;
}

const Value* Dict::find(std::string_view key) const {
  const std::size_t place = place_of(key);
  return place < entries_.size() ? &entries_[place].second : nullptr;
}

const Value* Dict::find(const Value& key, Budget& budget) const {
  const std::size_t place = place_of(key, budget);
  return place < entries_.size() ? &entries_[place].second : nullptr;
}

void Dict::set(const Value& key, Value value, Budget& budget) {
  const std::size_t place = place_of(key, budget);
  if (place == entries_.size()) return add(key, std::move(value));
  depth_ = std::max(depth_, value.depth() + 1);
  entries_[place].second = std::move(value);
}

void Dict::set(std::string key, Value value) {
  const std::size_t place = place_of(key);
  if (place == entries_.size()) return add(Value(std::move(key)), std::move(value));
  depth_ = std::max(depth_, value.depth() + 1);
  entries_[place].second = std::move(value);
}

namespace {

Value number_from_json(const OrderedJson& json) {
  if (json.is_number_float()) return json.get<double>();
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    refuse("the number ", json.dump(), " is beyond 64 bits; write it as a text");
  }
  return json.get<std::int64_t>();
}

}  // namespace

Value from_json(const OrderedJson& json, Origin origin) {
  if (json.is_null()) return {};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number()) return number_from_json(json);
  if (json.is_string()) return Text(json.get_ref<const std::string&>(), origin);
  if (json.is_array()) {
    std::vector<Value> items;
    for (const OrderedJson& item : json) items.push_back(from_json(item, origin));
    return Value::list(std::move(items));
  }
  if (!json.is_object()) refuse("a value of JSON is expected, found ", json.type_name());
  Dict dict;
  for (const auto& [key, value] : json.items()) dict.set(key, from_json(value, origin));
  return Value::dict(std::move(dict));
}

Value messages_from_json(const OrderedJson& messages) {
  if (!messages.is_array()) refuse("the messages are ", messages.type_name(), ", expected a list of objects");
  std::vector<Value> out;
  for (const OrderedJson& message : messages) {
    if (!message.is_object())
      refuse("message ", out.size(), " is ", message.type_name(), ", expected an object");
    const auto number = static_cast<std::int32_t>(out.size());
    Dict dict;
    for (const auto& [key, value] : message.items()) {
      dict.set(key, from_json(value, key == "role" ? Origin{} : Origin{number}));
    }
    out.push_back(Value::dict(std::move(dict)));
  }
  return Value::list(std::move(out));
}

}  // namespace lrqat::chat
