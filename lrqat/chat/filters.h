// The filters and tests: one row each in the tables of filters.cpp and tests.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "lrqat/chat/operations.h"
#include "lrqat/chat/signature.h"

namespace lrqat::chat {

struct FilterRow {
  std::string_view name;
  std::string_view parameters;                          // those behind the value (signature.h)
  Value (*call)(Runtime&, const Value&, const Bound&);  // nullptr: jinja2 has it, lrqat does not
};

struct TestRow {
  std::string_view name;
  std::string_view parameters;
  bool (*call)(Runtime&, const Value&, const Bound&);
};

const FilterRow* find_filter(std::string_view name);  // nullptr: jinja2 has none either
const TestRow* find_test(std::string_view name);

// Why a name that find_filter does not give, or gives without a function, cannot be used.
std::string missing_filter(std::string_view name);
std::string missing_test(std::string_view name);

// By name, as map and select call them; Failure where there is none.
Value call_filter(Runtime& runtime, const std::string& name, const Value& value, Arguments arguments);
bool call_test(Runtime& runtime, const std::string& name, const Value& value, Arguments arguments);

// jinja2's paths "a.b.0", looked up as items.
Value at_path(const Value& value, const Value& path, Runtime& runtime, const Value* fallback = nullptr);
Value ignoring_case(const Value& value);

}  // namespace lrqat::chat
