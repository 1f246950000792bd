// Tables of components of tokenizer.json (normalizers, pre-tokenizers, …). A component is a row: its type,
// the options it may have, and how it is made. Types and options that no row names are errors that say what
// is known.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::text {

template <typename T>
struct ComponentRow {
  std::string_view type;
  std::initializer_list<std::string_view> options;
  std::unique_ptr<T> (*make)(const Json& options, const std::string& where);
};

// Error where `json` has a key besides "type" that is not in `known`.
void check_options(const Json& json, std::span<const std::string_view> known, const std::string& where);

[[noreturn]] void fail_unknown_type(const std::string& type, const std::vector<std::string_view>& known,
                                    const std::string& where);

// The one character that `text` is made of.
std::string single_character(const std::string& text, const std::string& option, const std::string& where);

std::string component_type(const Json& json, const std::string& where);

// Appends what `json` describes: nothing for null, the members of a Sequence (listed under `list_key`) in
// order, else one component of `table`.
template <typename T>
void append_components(const Json& json, std::span<const ComponentRow<T>> table, const std::string& list_key,
                       const std::string& where, std::vector<std::unique_ptr<const T>>& out) {
  if (json.is_null()) return;
  const std::string type = component_type(json, where);
  if (type == "Sequence") {
    const std::string_view known[] = {list_key};
    check_options(json, known, where);
    const Json members = json_get<Json>(json, list_key, where);
    if (!members.is_array()) fail(where, ": key \"", list_key, "\" is not a list");
    for (const Json& member : members) append_components(member, table, list_key, where, out);
    return;
  }
  std::vector<std::string_view> known = {"Sequence"};
  for (const ComponentRow<T>& row : table) {
    known.push_back(row.type);
    if (row.type != type) continue;
    const std::string row_where = where + " " + type;
    check_options(json, {row.options.begin(), row.options.size()}, row_where);
    out.push_back(row.make(json, row_where));
    return;
  }
  fail_unknown_type(type, known, where);
}

}  // namespace lrqat::text
