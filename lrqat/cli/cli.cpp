#include "lrqat/cli/cli.h"

#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>

#include "lrqat/base/error.h"

namespace lrqat::cli {

int run(int argc, char** argv) {
  CLI::App app("lrqat: low-rank quantization-aware training");
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::cerr << "lrqat: " << error.what() << "\n";
    return 1;
  }
}

}  // namespace lrqat::cli
