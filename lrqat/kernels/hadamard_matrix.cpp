#include "lrqat/kernels/hadamard_matrix.h"

#include <algorithm>
#include <array>
#include <bit>
#include <span>

namespace lrqat::kernels {
namespace {

// A square matrix under construction.
class Square {
 public:
  explicit Square(std::int64_t order)
      : order_(order), values_(static_cast<std::size_t>(order * order), 0.0F) {}

  std::int64_t order() const { return order_; }
  float& at(std::int64_t row, std::int64_t column) {
    return values_[static_cast<std::size_t>(row * order_ + column)];
  }
  std::vector<float> take() { return std::move(values_); }

 private:
  std::int64_t order_;
  std::vector<float> values_;
};

bool is_power_of_two(std::int64_t n) { return n > 0 && std::has_single_bit(static_cast<std::uint64_t>(n)); }

bool is_prime(std::int64_t n) {
  if (n < 2) return false;
  for (std::int64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return true;
}

// χ of every residue: 0 of zero, 1 of squares, -1 of the others.
std::vector<float> quadratic_character(std::int64_t prime) {
  std::vector<float> character(static_cast<std::size_t>(prime), -1.0F);
  for (std::int64_t i = 1; i < prime; ++i) character[static_cast<std::size_t>(i * i % prime)] = 1.0F;
  character[0] = 0.0F;
  return character;
}

// [[0, 1ᵀ], [sign·1, Q]] with Q[i, j] = χ(i - j), of order prime + 1: C·Cᵀ = prime·I.
Square conference_matrix(std::int64_t prime, float sign) {
  const std::vector<float> character = quadratic_character(prime);
  Square matrix(prime + 1);
  for (std::int64_t i = 0; i < prime; ++i) {
    matrix.at(0, i + 1) = 1.0F;
    matrix.at(i + 1, 0) = sign;
    for (std::int64_t j = 0; j < prime; ++j)
      matrix.at(i + 1, j + 1) = character[static_cast<std::size_t>((i - j + prime) % prime)];
  }
  return matrix;
}

// I + C, where C is antisymmetric: of order p + 1 for primes p = 3 modulo 4.
std::vector<float> paley_1(std::int64_t order) {
  Square matrix = conference_matrix(order - 1, -1.0F);
  for (std::int64_t i = 0; i < order; ++i) matrix.at(i, i) = 1.0F;
  return matrix.take();
}

// C ⊗ [[1, 1], [1, -1]] + I ⊗ [[1, -1], [-1, -1]], where C is symmetric: of order 2 (p + 1) for primes p = 1
// modulo 4.
std::vector<float> paley_2(std::int64_t order) {
  Square conference = conference_matrix(order / 2 - 1, 1.0F), matrix(order);
  for (std::int64_t i = 0; i < order / 2; ++i) {
    for (std::int64_t j = 0; j < order / 2; ++j) {
      const float c = conference.at(i, j), one = i == j ? 1.0F : 0.0F;
      matrix.at(2 * i, 2 * j) = c + one;
      matrix.at(2 * i, 2 * j + 1) = c - one;
      matrix.at(2 * i + 1, 2 * j) = c - one;
      matrix.at(2 * i + 1, 2 * j + 1) = -c - one;
    }
  }
  return matrix.take();
}

// Four symmetric circulant matrices with A² + B² + C² + D² = 4n·I: where their first rows are -1 among
// columns 1 to (n - 1) / 2; 0 ends a list. Those of 43 are unions of classes modulo the sixth roots of one.
struct Williamson {
  std::int64_t n;
  std::array<std::array<std::int8_t, 13>, 4> negative;
};
constexpr std::array kWilliamson = std::to_array<Williamson>({
    {23, {{{3, 6, 7, 9, 11}, {2, 5, 6, 10, 11}, {4, 5, 7, 9}, {1, 5, 6, 7, 8, 9, 11}}}},
    {29, {{{4, 5, 6, 10, 12, 13}, {2, 6, 7, 8, 10, 11, 13}, {7, 8, 9, 11, 14}, {1, 3, 6, 7, 8, 10, 11, 13}}}},
    {43,
     {{{3, 4, 5, 8, 13, 15, 18, 19, 21},
       {2, 5, 8, 10, 12, 13, 14, 16, 17},
       {3, 9, 10, 11, 16, 17, 18, 20, 21},
       {1, 3, 5, 6, 7, 8, 10, 13, 16, 17, 18, 21}}}},
});

std::vector<float> first_row(std::int64_t n, std::span<const std::int8_t> negative) {
  std::vector<float> row(static_cast<std::size_t>(n), 1.0F);
  for (const std::int8_t column : negative) {
    if (column == 0) break;
    row[static_cast<std::size_t>(column)] = row[static_cast<std::size_t>(n - column)] = -1.0F;
  }
  return row;
}

// [[A, B, C, D], [-B, A, -D, C], [-C, D, A, -B], [-D, -C, B, A]].
std::vector<float> williamson(const Williamson& parts) {
  struct Part {
    std::size_t matrix;
    float sign;
  };
  constexpr std::array<std::array<Part, 4>, 4> kLayout{{{{{0, 1}, {1, 1}, {2, 1}, {3, 1}}},
                                                        {{{1, -1}, {0, 1}, {3, -1}, {2, 1}}},
                                                        {{{2, -1}, {3, 1}, {0, 1}, {1, -1}}},
                                                        {{{3, -1}, {2, -1}, {1, 1}, {0, 1}}}}};
  const std::int64_t n = parts.n;
  std::vector<std::vector<float>> rows;
  for (const auto& negative : parts.negative) rows.push_back(first_row(n, negative));
  Square matrix(4 * n);
  for (std::int64_t i = 0; i < 4 * n; ++i) {
    for (std::int64_t j = 0; j < 4 * n; ++j) {
      const Part part = kLayout[static_cast<std::size_t>(i / n)][static_cast<std::size_t>(j / n)];
      matrix.at(i, j) = part.sign * rows[part.matrix][static_cast<std::size_t>((j % n - i % n + n) % n)];
    }
  }
  return matrix.take();
}

// [[H, H], [H, -H]] of half the order, and so on.
std::vector<float> sylvester(std::int64_t order) {
  Square matrix(order);
  for (std::int64_t i = 0; i < order; ++i) {
    for (std::int64_t j = 0; j < order; ++j)
      matrix.at(i, j) = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 0 ? 1.0F : -1.0F;
  }
  return matrix.take();
}

const Williamson* find_williamson(std::int64_t order) {
  const auto found = std::find_if(kWilliamson.begin(), kWilliamson.end(),
                                  [&](const Williamson& parts) { return 4 * parts.n == order; });
  return found == kWilliamson.end() ? nullptr : &*found;
}

bool has_paley_1(std::int64_t order) { return order % 4 == 0 && is_prime(order - 1); }
bool has_paley_2(std::int64_t order) {
  return order % 4 == 0 && (order / 2 - 1) % 4 == 1 && is_prime(order / 2 - 1);
}
bool is_known(std::int64_t order) {
  return is_power_of_two(order) || has_paley_1(order) || has_paley_2(order) ||
         find_williamson(order) != nullptr;
}

}  // namespace

HadamardSize hadamard_size(std::int64_t n) {
  if (n < 1) return {};
  const std::int64_t largest_power = n & -n;
  for (std::int64_t power = largest_power; power >= 1; power /= 2) {
    if (is_known(n / power)) return {n / power, power};
  }
  return {};
}

std::vector<float> hadamard_matrix(std::int64_t order) {
  if (is_power_of_two(order)) return sylvester(order);
  if (has_paley_1(order)) return paley_1(order);
  if (has_paley_2(order)) return paley_2(order);
  if (const Williamson* parts = find_williamson(order)) return williamson(*parts);
  return {};
}

}  // namespace lrqat::kernels
