#include "lrqat/cli/usage.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::cli {
namespace {

const CLI::App* subcommand_of(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? nullptr : parsed.front();
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// What other programs call it.
std::string meant_subcommand(const std::string& word, const std::vector<std::string>& known) {
  static const std::map<std::string, std::string> kElsewhere = {
      {"quantize", "train (then convert and export), or train --method rtn for rounding alone"},
      {"finetune", "train"},
      {"fine-tune", "train"},
      {"merge", "convert"},
      {"pack", "convert"},
      {"chat", "generate"},
      {"run", "generate"},
      {"ppl", "perplexity"},
      {"benchmark", "evaluate"},
      {"info", "inspect"},
      {"diff", "compare"},
      {"encode", "tokenize"},
      {"estimate", "plan"}};
  const auto found = kElsewhere.find(word);
  return found != kElsewhere.end() ? concat("; did you mean ", found->second, "?")
                                   : did_you_mean(word, known);
}

std::string help_hint(const std::string& command) {
  return concat("; `lrqat ", command, command.empty() ? "" : " ", "--help` lists what there is");
}

std::string unknown_flag(const CLI::App& command, const std::string& word) {
  const std::string flag = word.substr(0, word.find('='));
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) known.push_back(option->get_name());
  return concat(command.get_name(), ": ", quote(flag), " is no flag of it", did_you_mean(flag, known),
                help_hint(command.get_name()));
}

// The option whose name the parser's message begins with.
const CLI::Option* option_in(const CLI::App& command, const std::string& message) {
  const CLI::Option* found = nullptr;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    if (message.starts_with(name) && (found == nullptr || name.size() > found->get_name().size()))
      found = option;
  }
  return found;
}

std::string about_option(const CLI::App& command, const CLI::Option& option, const CLI::Error& error) {
  const std::string name = concat(command.get_name(), ": ", option.get_name());
  const std::string help = concat(" (", option.get_description(), ")", help_hint(command.get_name()));
  if (error.get_name() == "RequiredError") return concat(name, " is missing", help);
  if (option.get_items_expected_max() == 0) return concat(name, " takes no value", help);
  if (option.results().size() > 1) return concat(name, " stands there more than once", help);
  return concat(name, " needs a value", help);
}

}  // namespace

std::string unknown_word(const CLI::App& app) {
  const CLI::App* command = subcommand_of(app);
  if (command == nullptr) {
    const auto rest = app.remaining();
    if (rest.empty()) return {};
    const auto known = subcommand_names(app);
    if (rest.front().starts_with("-")) {
      return concat(quote(rest.front()),
                    " stands before the subcommand or without one: flags follow it, as in `lrqat ",
                    "train --help`; subcommands are ", joined(known));
    }
    return concat(quote(rest.front()), " is no subcommand", meant_subcommand(rest.front(), known),
                  " Known are ", joined(known));
  }
  auto rest = app.remaining();
  const auto own = command->remaining();
  if (!rest.empty()) {
    return concat(quote(rest.front()), " stands before the subcommand: flags follow it, as in `lrqat ",
                  command->get_name(), " ", rest.front(), "`");
  }
  if (own.empty()) return {};
  const auto flag =
      std::find_if(own.begin(), own.end(), [](const std::string& word) { return word.starts_with("-"); });
  if (flag != own.end()) return unknown_flag(*command, *flag);
  return concat(command->get_name(), ": ", quote(own.front()), " belongs to no flag",
                help_hint(command->get_name()));
}

std::string usage_message(const CLI::App& app, const CLI::Error& error) {
  const std::string unknown = unknown_word(app);
  if (!unknown.empty()) return unknown;
  const CLI::App* command = subcommand_of(app);
  if (command == nullptr) {
    return concat("no subcommand given: use one of ", joined(subcommand_names(app)), help_hint(""));
  }
  const CLI::Option* option = option_in(*command, error.what());
  if (option != nullptr) return about_option(*command, *option, error);
  return concat(command->get_name(), ": ", error.what(), help_hint(command->get_name()));
}

}  // namespace lrqat::cli
