#include "lrqat/cli/cli.h"

int main(int argc, char** argv) { return lrqat::cli::run(argc, argv); }
