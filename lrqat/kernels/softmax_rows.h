// The row-wise arithmetic of softmax, of attention and of the loss, for pieces of a row at a time: a row of
// logits is 4·V bytes, a piece of it stays in cache between the matrix product that makes it and the loop
// that reads it. Plain loops on float32, compiled for several instruction sets (target.h).
#pragma once

#include <cstdint>

namespace lrqat::kernels {

// log Σ exp(x) of a row, piece by piece: = maximum + log(sum).
struct RunningLogSumExp {
  float maximum = -3.4e38F;
  float sum = 0.0F;  // Σ exp(x - maximum)
};

void update_log_sum_exp(const float* x, std::int64_t n, RunningLogSumExp& running);

// x <- exp(x - max x); returns the maximum and the sum of the results.
RunningLogSumExp exponentials(float* x, std::int64_t n);

// s [rows, n] <- exp(s - lse), lse [n]: the probabilities of attention with queries in columns.
void probabilities(float* s, std::int64_t rows, std::int64_t n, const float* lse);

// dp [rows, n] <- p (dp - delta), delta [n]: the gradient of the scores from that of the probabilities.
void score_gradients(const float* p, float* dp, std::int64_t rows, std::int64_t n, const float* delta);

// x <- cap · tanh(x / cap). slope, where not null: 1 - tanh², the derivative.
void cap_scores(float* x, std::int64_t n, float cap, float* slope);

// x <- x · factor, element by element.
void multiply_elements(float* x, const float* factor, std::int64_t n);

// z <- factor · p, p = exp(z - lse): the softmax part of the gradient of a cross-entropy.
void softmax_gradient(float* z, std::int64_t n, float lse, float factor);

// z <- factor · (p - weight · p_teacher), p_teacher = exp(t - lse_teacher). Returns this piece's part of
// Σ p_teacher (t - z), which is what a Kullback-Leibler divergence needs of the row besides both lse.
float distilled_gradient(float* z, const float* t, std::int64_t n, float lse, float lse_teacher, float factor,
                         float weight);

// The same sum without the gradient.
float teacher_weighted_difference(const float* z, const float* t, std::int64_t n, float lse_teacher);

}  // namespace lrqat::kernels
