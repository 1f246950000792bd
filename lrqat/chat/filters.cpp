#include "lrqat/chat/filters.h"

#include <algorithm>

#include "lrqat/chat/characters.h"
#include "lrqat/chat/filter_rows.h"
#include "lrqat/chat/json_text.h"

namespace lrqat::chat {
namespace {

Value filter_default(Runtime&, const Value& value, const Bound& bound) {
  const bool missing = value.is_undefined() || (bound.flag(1, false) && !value.truth());
  return missing ? bound.get(0, "") : value;
}

constexpr FilterRow kFilters[] = {
    {"abs", "", filter_abs},
    {"attr", "name", filter_attr},
    {"batch", "linecount fill_with?", filter_batch},
    {"capitalize", "", filter_capitalize},
    {"center", "width?", filter_center},
    {"count", "", filter_length},
    {"d", "default_value? boolean?", filter_default},
    {"default", "default_value? boolean?", filter_default},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"filesizeformat", "binary?", filter_filesizeformat},
    {"first", "", filter_first},
    {"float", "default?", filter_float},
    {"forceescape", "", filter_forceescape},
    {"format", "* **", filter_format},
    {"groupby", "attribute default? case_sensitive?", filter_groupby},
    {"indent", "width? first? blank?", filter_indent},
    {"int", "default? base?", filter_int},
    {"items", "", filter_items},
    {"join", "d? attribute?", filter_join},
    {"last", "", filter_last},
    {"length", "", filter_length},
    {"list", "", filter_list},
    {"lower", "", filter_lower},
    {"map", "* **", filter_map},
    {"max", "case_sensitive? attribute?", filter_max},
    {"min", "case_sensitive? attribute?", filter_min},
    {"pprint", "", nullptr},
    {"random", "", nullptr},
    {"reject", "* **", filter_reject},
    {"rejectattr", "* **", filter_rejectattr},
    {"replace", "old new count?", filter_replace},
    {"reverse", "", filter_reverse},
    {"round", "precision? method?", filter_round},
    {"safe", "", filter_safe},
    {"select", "* **", filter_select},
    {"selectattr", "* **", filter_selectattr},
    {"slice", "slices fill_with?", filter_slice},
    {"sort", "reverse? case_sensitive? attribute?", filter_sort},
    {"string", "", filter_string},
    {"striptags", "", nullptr},
    {"sum", "attribute? start?", filter_sum},
    {"title", "", filter_title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", to_json},
    {"trim", "chars?", filter_trim},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {"unique", "case_sensitive? attribute?", filter_unique},
    {"upper", "", filter_upper},
    {"urlencode", "", filter_urlencode},
    {"urlize", "", nullptr},
    {"wordcount", "", filter_wordcount},
    {"wordwrap", "", nullptr},
    {"xmlattr", "", nullptr},
};

std::vector<Value> path_parts(const Value& path) {
  if (path.is_none()) return {};
  if (!path.is_text()) return {path};
  std::vector<Value> parts;
  const std::string& text = path.bytes();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    parts.push_back(number ? Value(std::int64_t{std::stoll(part)}) : Value(part));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

const FilterRow* find_filter(std::string_view name) {
  const auto* row = std::find_if(std::begin(kFilters), std::end(kFilters),
                                 [&](const FilterRow& other) { return other.name == name; });
  return row == std::end(kFilters) ? nullptr : row;
}

std::string missing_filter(std::string_view name) {
  if (find_filter(name) != nullptr)
    return concat("the filter '", name, "' of jinja2 is not one that lrqat has");
  return concat("No filter named '", name, "'.");
}

Value call_filter(Runtime& runtime, const std::string& name, const Value& value, Arguments arguments) {
  const FilterRow* row = find_filter(name);
  if (row == nullptr || row->call == nullptr) throw Failure(missing_filter(name));
  return row->call(runtime, value, Bound(name, row->parameters, std::move(arguments)));
}

Value at_path(const Value& value, const Value& path, Runtime& runtime, const Value* fallback) {
  Value found = value;
  for (const Value& part : path_parts(path)) {
    found = item_of(found, part, runtime);
    if (fallback != nullptr && !fallback->is_none() && found.is_undefined()) found = *fallback;
  }
  return found;
}

Value ignoring_case(const Value& value) { return value.is_text() ? Value(lower_case(value.bytes())) : value; }

}  // namespace lrqat::chat
