// Flags with numbers and words, read as recipe fields are (base/numbers.h), with the bounds in the message
// and in --help.
#pragma once

#include <CLI/CLI.hpp>
#include <concepts>
#include <string>
#include <vector>

#include "lrqat/base/numbers.h"

namespace lrqat::cli {

// Most that a flag that counts something may be.
constexpr std::int64_t kMostCount = 1'000'000'000;

// `name`: "--threads".
template <std::integral T>
CLI::Option* add_integer(CLI::App& command, const std::string& name, T& value, std::int64_t least,
                         std::int64_t most, const std::string& help) {
  const auto read = [&value, name, least, most](const std::string& text) {
    value = static_cast<T>(parse_integer(name.substr(2), text, least, most));
  };
  return command.add_option_function<std::string>(name, read, help)->type_name("N");
}

CLI::Option* add_real(CLI::App& command, const std::string& name, double& value, double least, double most,
                      const std::string& help);
// --out: the name without "/" or "/." behind it. An empty one is wrong usage.
CLI::Option* add_out(CLI::App& command, std::string& value, const std::string& help);
CLI::Option* add_choice(CLI::App& command, const std::string& name, std::string& value,
                        const std::vector<std::string>& choices, const std::string& help);

}  // namespace lrqat::cli
