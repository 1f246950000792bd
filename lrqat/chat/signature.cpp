#include "lrqat/chat/signature.h"

#include <algorithm>
#include <string>

namespace lrqat::chat {
namespace {

struct Parameter {
  std::string_view name;
  bool optional;
};

struct Signature {
  std::vector<Parameter> parameters;
  bool positional_only = false;
  bool rest = false;
  bool named_rest = false;
};

Signature read(std::string_view text) {
  Signature out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word == "/") {
      out.positional_only = true;
    } else if (word == "*") {
      out.rest = true;
    } else if (word == "**") {
      out.named_rest = true;
    } else {
      const bool optional = word.ends_with('?');
      if (optional) word.remove_suffix(1);
      out.parameters.push_back({word, optional});
    }
  }
  return out;
}

}  // namespace

Bound::Bound(std::string_view function, std::string_view parameters, Arguments arguments) {
  const Signature signature = read(parameters);
  const std::size_t count = signature.parameters.size();
  values_.resize(count);
  given_.resize(count);
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < count) {
      values_[i] = std::move(arguments.positional[i]);
      given_[i] = true;
    } else if (signature.rest) {
      rest_.positional.push_back(std::move(arguments.positional[i]));
    } else {
      refuse(function, " takes at most ", count, " arguments (", arguments.positional.size(), " given)");
    }
  }
  for (auto& [name, value] : arguments.named) {
    const auto found =
        std::find_if(signature.parameters.begin(), signature.parameters.end(),
                     [&key = name](const Parameter& parameter) { return parameter.name == key; });
    if (found != signature.parameters.end() && !signature.positional_only) {
      const auto i = static_cast<std::size_t>(found - signature.parameters.begin());
      if (given_[i]) refuse(function, " got multiple values for argument '", name, "'");
      values_[i] = std::move(value);
      given_[i] = true;
    } else if (signature.named_rest) {
      rest_.named.emplace_back(std::move(name), std::move(value));
    } else {
      refuse(function, " got an unexpected keyword argument '", name, "'");
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (given_[i] || signature.parameters[i].optional) continue;
    refuse(function, " misses the argument '", signature.parameters[i].name, "'");
  }
}

std::int64_t Bound::integer(std::size_t index, std::int64_t fallback) const {
  if (!given_[index]) return fallback;
  if (values_[index].is_undefined()) values_[index].raise_undefined();
  if (!values_[index].is_whole()) {
    refuse("'", values_[index].type_name(), "' object cannot be interpreted as an integer");
  }
  return values_[index].integer();
}

const Text& Bound::text(std::size_t index) const {
  if (!values_[index].is_text()) refuse("a str is expected, found ", values_[index].type_name());
  return values_[index].text();
}

}  // namespace lrqat::chat
