// The functions that every template can call: jinja2's, and those that transformers adds.
#include "lrqat/chat/interpreter.h"

namespace lrqat::chat {
namespace {

Value range(Runtime&, Arguments arguments) {
  const Bound bound("range", "/ start stop? step?", std::move(arguments));
  if (bound.find(1) == nullptr)
    return std::shared_ptr<Object>(std::make_shared<Range>(0, bound.integer(0, 0), 1));
  return std::shared_ptr<Object>(
      std::make_shared<Range>(bound.integer(0, 0), bound.integer(1, 0), bound.integer(2, 1)));
}

// dict(mapping or pairs, **named)
Dict to_dict(Runtime& runtime, Arguments arguments, const char* function) {
  const Bound bound(function, "/ values? **", std::move(arguments));
  Dict out;
  if (const Value* values = bound.find(0)) {
    if (values->is_dict()) {
      out = values->dict();
    } else {
      for (const Value& pair : to_items(*values, runtime.budget)) {
        const std::vector<Value> two = to_items(pair, runtime.budget);
        if (two.size() != 2)
          refuse("dictionary update sequence element has length ", two.size(), "; 2 is required");
        out.set(two[0], two[1], runtime.budget);
      }
    }
  }
  for (const auto& [name, value] : bound.rest().named) out.set(name, value);
  return out;
}

Value dict(Runtime& runtime, Arguments arguments) {
  return Value::dict(to_dict(runtime, std::move(arguments), "dict"));
}

Value make_namespace(Runtime& runtime, Arguments arguments) {
  const auto out = runtime.keep(std::make_shared<Namespace>());
  const Dict attributes = to_dict(runtime, std::move(arguments), "namespace");
  for (const auto& [name, value] : attributes.entries()) {
    if (!name.is_text()) refuse("attributes of a namespace have names of type str, not ", name.type_name());
    out->set(name.bytes(), value);
  }
  return std::shared_ptr<Object>(out);
}

Value cycler(Runtime&, Arguments arguments) {
  const Bound bound("cycler", "*", std::move(arguments));
  return std::shared_ptr<Object>(std::make_shared<Cycler>(bound.rest().positional));
}

// A function that gives nothing at its first call, and the separator from then on.
Value joiner(Runtime&, Arguments arguments) {
  const Bound bound("joiner", "sep?", std::move(arguments));
  return std::shared_ptr<Object>(std::make_shared<Function>(
      "joiner",
      [separator = bound.get(0, ", "), used = false](Runtime&, const Arguments&) mutable {
        return std::exchange(used, true) ? separator : Value("");
      },
      bound.get(0, {}).depth() + 1));
}

Value raise_exception(Runtime& runtime, Arguments arguments) {
  const Bound bound("raise_exception", "message", std::move(arguments));
  throw Refusal(to_text(bound[0], runtime.budget).bytes());
}

Value strftime_now(Runtime& runtime, Arguments arguments) {
  const Bound bound("strftime_now", "format", std::move(arguments));
  return runtime.strftime_now(bound.text(0).bytes());
}

Value lipsum(Runtime&, Arguments) { refuse("the function lipsum is not one that lrqat has"); }

}  // namespace

std::vector<std::pair<std::string, Value>> global_functions() {
  const std::pair<const char*, Value (*)(Runtime&, Arguments)> rows[] = {
      {"cycler", cycler},
      {"dict", dict},
      {"joiner", joiner},
      {"lipsum", lipsum},
      {"namespace", make_namespace},
      {"raise_exception", raise_exception},
      {"range", range},
      {"strftime_now", strftime_now},
  };
  std::vector<std::pair<std::string, Value>> out;
  for (const auto& [name, call] : rows) {
    out.emplace_back(name, Value(std::shared_ptr<Object>(std::make_shared<Function>(name, call))));
  }
  return out;
}

}  // namespace lrqat::chat
