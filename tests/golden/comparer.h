// The comparison that every golden test makes: max|a - b| / max|b| against a tolerance, or equality; each
// with its negative control, one element moved by ten tolerances (or by one code), which must be noticed.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

namespace lrqat::golden {

// Tolerances of tests/data/golden/README.md, section 1.
constexpr double kExact = 0.0;
constexpr double kOneMultiplication = 1e-6;  // W_hat, scale
constexpr double kFloatSum = 2e-5;           // Y and gradients: float32 sums over 14 … 1536 terms
constexpr double kBfloat16Product = 1.5e-2;  // the reference keeps C and its gradient in bfloat16

// Largest |a - b| over the denominator; infinite for unequal counts and for what is not finite.
inline double difference(const at::Tensor& a, const at::Tensor& b, double denominator) {
  if (a.numel() != b.numel()) return std::numeric_limits<double>::infinity();
  if (a.numel() == 0) return 0.0;
  const at::Tensor x = a.reshape({-1}).to(at::kDouble), y = b.reshape({-1}).to(at::kDouble);
  const double largest = (x - y).abs().max().item<double>() / denominator;
  return std::isfinite(largest) ? largest : std::numeric_limits<double>::infinity();
}

class Comparer {
 public:
  // False (and a test failure, unless quiet) where they differ by more. denominator 0: max|stored|.
  bool check(const std::string& where, const std::string& what, const at::Tensor& stored,
             const at::Tensor& ours, double tolerance, double denominator = 0.0) {
    const bool exact = tolerance == kExact;
    if (exact) denominator = 1.0;
    if (denominator == 0.0 && stored.numel() > 0) {
      denominator = stored.to(at::kDouble).abs().max().item<double>();
    }
    denominator = std::max(denominator, 1e-30);
    const double error = difference(ours, stored, denominator);
    ++compared_;
    worst_[what] = std::max(worst_[what], error);
    if (!quiet_) {
      EXPECT_LE(error, tolerance) << where << ": " << what;
      control(where, what, stored, exact ? 1.0 : 10 * tolerance * denominator, tolerance, denominator);
    }
    return error <= tolerance;
  }

  static Comparer quiet() {
    Comparer comparer;
    comparer.quiet_ = true;
    return comparer;
  }
  std::int64_t compared() const { return compared_; }
  const std::map<std::string, double>& worst() const { return worst_; }

 private:
  void control(const std::string& where, const std::string& what, const at::Tensor& stored, double step,
               double tolerance, double denominator) {
    if (stored.numel() == 0) return;
    at::Tensor moved = stored.reshape({-1}).to(at::kDouble).clone();
    moved[(compared_ * 7919) % moved.numel()] += step;
    EXPECT_GT(difference(moved, stored, denominator), tolerance) << "negative control " << where << what;
  }

  bool quiet_ = false;
  std::int64_t compared_ = 0;
  std::map<std::string, double> worst_;
};

}  // namespace lrqat::golden
