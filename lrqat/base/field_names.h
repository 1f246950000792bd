// How messages name settings. The library's messages have a field of a recipe or of other options in back
// quotes, `lora-alpha`, because it does not know where it was set. Who shows a message writes the name as it
// is written there: the command line as the flag --lora-alpha, a recipe file as the key lora-alpha.
#pragma once

#include <string>
#include <string_view>

namespace lrqat {

// "`name`"
std::string field_name(std::string_view name);

// `message` with `prefix` and the plain name in place of every name in back quotes. Back quotes around
// anything else (a command with its arguments) stay.
std::string with_field_names(std::string_view message, std::string_view prefix);

}  // namespace lrqat
