#include "lrqat/cli/flags.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/temporary.h"
#include "lrqat/base/user_text.h"

namespace lrqat::cli {

CLI::Option* add_real(CLI::App& command, const std::string& name, double& value, double least, double most,
                      const std::string& help) {
  const auto read = [&value, name, least, most](const std::string& text) {
    value = parse_real(name.substr(2), text, least, most);
  };
  return command.add_option_function<std::string>(name, read, help)->type_name("X");
}

CLI::Option* add_out(CLI::App& command, std::string& value, const std::string& help) {
  const auto read = [&value](const std::string& text) {
    if (text.empty()) throw UsageError("--out is empty: give the name of what is to be written");
    value = without_slash(text).string();
  };
  return command.add_option_function<std::string>("--out", read, help)->required();
}

CLI::Option* add_choice(CLI::App& command, const std::string& name, std::string& value,
                        const std::vector<std::string>& choices, const std::string& help) {
  const auto read = [&value, name, choices](const std::string& text) {
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
      std::string known;
      for (const std::string& choice : choices) known += (known.empty() ? "" : ", ") + choice;
      throw UsageError(concat(name, " ", quote(text), ": expected one of ", known));
    }
    value = text;
  };
  return command.add_option_function<std::string>(name, read, help)->type_name("WORD");
}

}  // namespace lrqat::cli
