// A mean over tokens with its standard error. Tokens of one window are not independent, so there are two
// errors: one as if they were (what llama.cpp prints), one from the sums of whole windows; the larger
// counts.
#pragma once

#include <cstdint>
#include <span>

namespace lrqat::eval {

struct Estimate {
  double mean = 0;
  double token_stderr = 0;  // sample deviation of the tokens / sqrt(tokens)
  // Of windows of equal size: sample deviation of their means / sqrt(windows); 0 for one window.
  double window_stderr = 0;

  double error() const { return token_stderr > window_stderr ? token_stderr : window_stderr; }
  // Not told apart from 0 by two standard errors.
  bool is_noise() const { return (mean < 0 ? -mean : mean) <= 2 * error(); }
};

double mean(std::span<const double> values);  // at least one
// Sample deviation / sqrt(n); 0 for a single value.
double standard_error(std::span<const double> values);

// `values` of one window after the other; sizes: how many of each, at least one.
Estimate estimate(std::span<const double> values, std::span<const std::int64_t> sizes);

}  // namespace lrqat::eval
