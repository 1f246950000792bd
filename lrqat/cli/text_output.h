// Figures as people read them. --json has all digits.
#pragma once

#include <cstdint>
#include <string>

namespace lrqat::cli {

std::string rounded(double value, int decimals);
// "0.1378 ± 0.0021": both to the two digits that the standard error is known by.
std::string with_error(double value, double standard_error);
std::string mebibytes(std::int64_t bytes);  // "87 MiB"
// For a shell: in quotes where it must be.
std::string shell_word(const std::string& path);

}  // namespace lrqat::cli
