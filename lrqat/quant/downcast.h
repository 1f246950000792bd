// φ, the cast that Φ0 = φ(W / s0) goes through before it is frozen (method.md section 2), and its storage.
// N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "lrqat/ops/stored_weight.h"
#include "lrqat/quant/grid.h"

namespace lrqat::quant {

enum class Downcast {
  float32,
  bfloat16,
  float16,
  fixed_point8,  // Q b.(8-b): int8, round(2^(8-b)·clip(u)) / 2^(8-b)
  int4,          // clip(round(u)), two codes a byte; b <= 4
  integer,       // "lr_qat_int": clip(round(u)), and γAB is rounded on its own; packed where b <= 4
};

// Names as on the command line (--phi). Unknown ones are a UsageError that lists them.
Downcast parse_downcast(std::string_view name);
std::string downcast_name(Downcast downcast);

// The frozen term. Rows are independent, so a tile of it is a slice.
class Phi0 {
 public:
  // Applies the downcast to u = W / s0, float32 [N, K]. UsageError where the grid does not fit the downcast.
  static Phi0 store(const at::Tensor& u, Downcast downcast, const Grid& grid);
  // The same in pieces, so that u never exists as a whole: storage of [out_features, in_features] whose rows
  // store_rows() fills.
  static Phi0 allocate(std::int64_t out_features, std::int64_t in_features, Downcast downcast,
                       const Grid& grid, at::Device device);
  void store_rows(std::int64_t row_begin, const at::Tensor& u);  // u of these rows, float32 [rows, K]
  // Takes a tensor that store() made and tensor() returned; Error (naming `where`) when dtype or shape is
  // wrong.
  Phi0(at::Tensor stored, std::int64_t in_features, Downcast downcast, const Grid& grid,
       const std::string& where);

  const at::Tensor& tensor() const { return stored_; }  // [N, K], or uint8 [N, ceil(K / 2)] when packed
  std::int64_t out_features() const { return stored_.size(0); }
  std::int64_t in_features() const { return in_features_; }
  at::Tensor decode(std::int64_t row_begin, std::int64_t row_end) const;  // float32 [rows, K]

  // With the scale of all rows, or rows [row_begin, row_end) with theirs, as ops take it (no low-rank term).
  ops::StoredWeight stored(const at::Tensor& scale) const;
  ops::StoredWeight stored(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& scale) const;

 private:
  Phi0(std::int64_t in_features, Downcast downcast, const Grid& grid);

  at::Tensor stored_;
  std::int64_t in_features_;
  Downcast downcast_;
  Grid grid_;
  float unit_;
};

}  // namespace lrqat::quant
