// Methods of str, dict, list, tuple and numbers: one row a method in the tables of methods.cpp and
// text_methods.cpp.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lrqat/chat/operations.h"
#include "lrqat/chat/signature.h"

namespace lrqat::chat {

struct MethodRow {
  std::string_view name;
  std::string_view parameters;                               // signature.h
  Value (*call)(Runtime&, const Value& self, const Bound&);  // nullptr: Python has it, lrqat does not
};

std::span<const MethodRow> text_methods();

// The method of that name, bound to the value; undefined where the sandbox forbids it (it would change the
// value); nullopt where Python has none.
std::optional<Value> method_of(const Value& value, const std::string& name);

// What filters share with methods.
std::vector<Value> split_lines(const Text& text, bool keep_ends);
Text stripped_text(const Text& text, const Value* characters, bool left, bool right);
Text replaced(const Text& text, const Text& old, const Text& by, std::int64_t count, Budget& budget);
Text joined(const Text& separator, const std::vector<Text>& parts, Budget& budget);
Text padded(const Text& text, std::size_t left, std::size_t right, std::string_view fill, Budget& budget);
Text centered(const Text& text, std::int64_t width, std::string_view fill, Budget& budget);

}  // namespace lrqat::chat
