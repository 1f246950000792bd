// The layouts that rows of data sets are published in: one table, whose names `data-format` takes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lrqat/corpus/example.h"

namespace lrqat::corpus {

struct Layout {
  std::string name;               // "alpaca"
  const char* form;               // as messages show it
  std::vector<const char*> keys;  // that every row must have
  // Nothing: the row has nothing to learn. Error naming `where` for values of other types.
  std::optional<Example> (*read)(const Json& row, const std::string& where);
};

const std::vector<Layout>& layouts();
const Layout* find_layout(const std::string& name);  // nullptr: there is none of this name

// The layout that a row has. null and empty values count as if they were not there, unless nothing else is;
// other keys are not looked at. nullptr: the row is empty in more than one layout. Error naming `where` for
// none, and for more than one, of which `setting` (`data-format`) chooses.
const Layout* layout_of(const Json& row, const std::string& where, const std::string& setting);

bool has_keys(const Json& row, const Layout& layout);  // whatever their values
// An object with the keys of a layout, which hold no rows themselves.
bool is_row(const Json& value);
// For messages: what was found and what is known.
[[noreturn]] void fail_no_layout(const Json& row, const std::string& where, const Layout* expected = nullptr);
std::string known_layouts();

// The prompt that the Alpaca repository trains with; the answer follows directly.
std::string alpaca_prompt(const std::string& instruction, const std::string& input);

}  // namespace lrqat::corpus
