// Values that are neither numbers, texts, lists nor dicts: what Python's protocol asks of them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lrqat/chat/value.h"

namespace lrqat::chat {

class Runtime;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* find(std::string_view name) const;
};

// Gives one item after the other; nullopt at the end.
using Iterator = std::function<std::optional<Value>()>;

class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual std::string text(Budget&) const {
    return concat("<", type_name(), " object>");
  }  // str() and repr()
  virtual bool truth() { return true; }
  virtual std::optional<Value> attribute(const std::string&) { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Value call(Runtime&, Arguments);
  virtual std::optional<Iterator> iterate() { return std::nullopt; }
  virtual std::optional<Iterator> iterate_back() { return std::nullopt; }  // reversed()
  virtual std::optional<std::size_t> length() { return std::nullopt; }
  virtual std::optional<Value> item(const Value&) { return std::nullopt; }
  virtual bool hashable() const { return true; }
  virtual bool has_items() const { return false; }  // whether item() can give something at all
  virtual int depth() const { return 1; }
  virtual void forget() {}  // drops what it refers to, so that objects that refer to each other can go
};

// What a function makes on demand, once: map, select, reversed …
class Generator : public Object {
 public:
  Generator(Iterator next, int depth);
  std::string type_name() const override { return "generator"; }
  std::optional<Iterator> iterate() override;
  int depth() const override { return depth_; }

 private:
  std::shared_ptr<Iterator> next_;  // one for all who iterate: what one of them takes is gone
  int depth_;
};

Value generator(Iterator next, const Value& source);

class Range : public Object {
 public:
  Range(std::int64_t start, std::int64_t stop, std::int64_t step);
  std::string type_name() const override { return "range"; }
  std::string text(Budget&) const override;
  bool truth() override { return size_ > 0; }
  std::optional<Value> attribute(const std::string& name) override;
  std::optional<Iterator> iterate() override;
  std::optional<Iterator> iterate_back() override;
  std::optional<std::size_t> length() override { return size_; }
  std::optional<Value> item(const Value& index) override;
  bool has_items() const override { return true; }
  std::int64_t at(std::int64_t index) const;  // also outside of it
  std::int64_t step() const { return step_; }
  bool equals(const Range& other) const;

 private:
  std::int64_t start_, stop_, step_;
  std::size_t size_ = 0;
};

// dict.keys(), values(), items().
class DictView : public Object {
 public:
  enum class Part { kKeys, kValues, kItems };
  DictView(Value dict, Part part) : dict_(std::move(dict)), part_(part) {}
  std::string type_name() const override;
  std::string text(Budget& budget) const override;
  bool truth() override { return dict_.dict().size() > 0; }
  std::optional<Iterator> iterate() override { return walk(false); }
  std::optional<Iterator> iterate_back() override { return walk(true); }
  std::optional<std::size_t> length() override { return dict_.dict().size(); }
  bool is_set() const { return part_ != Part::kValues; }
  bool hashable() const override { return !is_set(); }
  std::optional<bool> contains_key(const Value& key, Budget& budget) const;  // nullopt: these are no keys
  int depth() const override { return dict_.depth() + 1; }

 private:
  Iterator walk(bool back) const;
  Value member(std::size_t index) const;
  Value dict_;
  Part part_;
};

class Namespace : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  std::string text(Budget& budget) const override;
  std::optional<Value> attribute(const std::string& name) override;
  void set(const std::string& name, Value value);  // Failure where the name begins with an underscore
  void forget() override { attributes_ = Dict(); }

 private:
  Dict attributes_;
};

// A function of C++: a global one, or a method with the value that it belongs to.
class Function : public Object {
 public:
  using Call = std::function<Value(Runtime&, Arguments)>;
  Function(std::string name, Call call, int depth = 1)
      : name_(std::move(name)), call_(std::move(call)), depth_(depth) {}
  std::string type_name() const override { return "function"; }
  std::string text(Budget&) const override { return concat("<function ", name_, ">"); }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Arguments arguments) override { return call_(runtime, std::move(arguments)); }
  int depth() const override { return depth_; }

 private:
  std::string name_;
  Call call_;
  int depth_;
};

class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items);
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(const std::string& name) override;
  int depth() const override { return state_->depth; }

 private:
  struct State {
    std::vector<Value> items;
    std::size_t at = 0;
    int depth = 1;
  };
  std::shared_ptr<State> state_;
};

}  // namespace lrqat::chat
