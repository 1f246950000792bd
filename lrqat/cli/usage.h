// What a wrong command line is told, in place of the parser's own bare messages.
#pragma once

#include <string>

namespace CLI {
class App;
class Error;
}  // namespace CLI

namespace lrqat::cli {

// Names the first word that neither the program nor the subcommand knows, with the nearest known; empty: all
// are known. `app` has parsed, or failed to, and allows extra words.
std::string unknown_word(const CLI::App& app);

// A parser's error with what is wrong, the flag's help and where to read more.
std::string usage_message(const CLI::App& app, const CLI::Error& error);

}  // namespace lrqat::cli
