// The row-wise arithmetic of a softmax loss on logits, a tile of columns at a time: as plain loops on the
// CPU, as ATen operations elsewhere. `kernels` false takes the ATen form on the CPU too, for tests. T tokens,
// V vocab_size, C columns of a tile; tiles are float32 [T, C] with adjacent columns, which may be strided
// views.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lrqat/kernels/softmax_rows.h"

namespace lrqat::ops {

bool has_loss_kernels(at::Device device);
// Columns of a tile: on a CPU 4·C bytes a token stay in cache; elsewhere launches cost more than memory.
std::int64_t logit_tile_columns(at::Device device);
// Bytes of logits at a time, of `bytes` that suit a CPU.
std::int64_t logit_bytes(std::int64_t bytes, at::Device device);

// log Σ exp of rows, tile by tile.
class RowLogSumExp {
 public:
  RowLogSumExp(std::int64_t rows, bool kernels);
  void add(const at::Tensor& tile);
  at::Tensor result(const at::Tensor& logits) const;  // float32 [T]; logits [T, V]: all tiles together

 private:
  bool kernels_;
  std::vector<kernels::RunningLogSumExp> running_;
};

// The gradient of the cross-entropy but for its one-hot part: tile <- factor · p, p = exp(tile - lse). lse
// and factor float32 [T].
void to_softmax_gradient(at::Tensor tile, const at::Tensor& lse, const at::Tensor& factor, bool kernels);

// What a Kullback-Leibler divergence from a teacher adds: its logits of the same tile, its log Σ exp [T], and
// the share of the loss.
struct TeacherRows {
  at::Tensor logits;
  at::Tensor lse;
  double weight;
};

// tile <- factor · (p - weight · p_teacher). difference, float64 [T], += Σ p_teacher (teacher - tile).
void to_distilled_gradient(at::Tensor tile, const TeacherRows& teacher, const at::Tensor& lse,
                           const at::Tensor& factor, at::Tensor difference, bool kernels);
// The sum alone.
void add_teacher_difference(const at::Tensor& tile, const TeacherRows& teacher, at::Tensor difference,
                            bool kernels);

// tile[t, column[t] - first_column] -= value[t] where the column is in the tile. column int64 [T, 1], value
// float32 [T].
void subtract_one_hot(at::Tensor tile, const at::Tensor& column, std::int64_t first_column,
                      const at::Tensor& value, bool kernels);

}  // namespace lrqat::ops
