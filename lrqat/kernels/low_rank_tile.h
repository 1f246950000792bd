// The heart of LR-QAT on raw memory: one pass that decodes Φ0, adds γ·A·B, rounds, clips and writes the tile
// in the form that is wanted (docs/method.md section 2).
//
//     acc = Σ_r fma(A[n,r], B[r,k])                r ascending
//     z   = Φ0[n,k] + γ·acc
//     q   = clip(rint(z), quant_min, quant_max)    rint: half to even
//
// One accumulator an entry, so the bits do not depend on tile shape, threads or instruction set.
// Each row and column is independent, so splitting a tile changes nothing. Every function has a readable twin
// in low_rank_tile_ref.cpp that gives the same bits.
#pragma once

#include <cstdint>
#include <vector>

namespace lrqat::kernels {

// How Φ0 is stored. int8: value = raw * unit (fixed_point8: unit = 2^(b-8); codes: unit = 1). int4: two codes
// a byte, low nibble first, stored as code + 8.
enum class PhiType { float32, bfloat16, float16, int8, int4 };

struct PhiView {
  PhiType type = PhiType::float32;
  const void* data = nullptr;  // first element of the tile's first row
  std::int64_t row_bytes = 0;  // from one row to the next
  float unit = 1.0F;
};

struct LowRankTile {
  PhiView phi;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t col_begin = 0;      // first column within Φ0, B and the scales; even where Φ0 is int4
  const float* lora_a = nullptr;   // [rows, rank], contiguous; unused when rank is 0
  const float* lora_b = nullptr;   // [rank, K]
  std::int64_t lora_b_stride = 0;  // K, from one row of B to the next; 0: cols
  std::int64_t rank = 0;
  float lora_scaling = 1.0F;  // γ = lora_alpha / rank
  float quant_min = -8.0F;
  float quant_max = 7.0F;
  bool round_low_rank = false;    // integer variant: q = clip(Φ0 + rint(γ·acc)); Φ0 must hold integers
  bool bfloat16_product = false;  // γ·acc is formed in bfloat16, as adapters kept in bfloat16 do
  bool is_float = false;          // a float weight instead: nothing is rounded or clipped, q = Φ0 + γ·acc
};

// Scales of the tile's rows: scale of (n, k) is data[n * row_stride + k / group_size]. A scale shared by all
// rows has row_stride 0; one scale a row has group_size = cols.
// Where there are zero points, laid out like the scales, the operand forms hold q - z instead of q.
struct ScaleView {
  const float* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t group_size = 0;
  const std::int8_t* zero_point = nullptr;
};

// A clipped entry of the weight.
struct ClippedEntry {
  std::int32_t row;
  std::int32_t col;
  bool operator==(const ClippedEntry&) const = default;
};

// What to write; null pointers are skipped. Row strides are in elements. Positions count from the tile's
// corner.
struct TileOutput {
  std::int8_t* codes = nullptr;     // q, [rows, cols] with stride cols
  std::uint8_t* mask = nullptr;     // 1 where the rounded value lies in [quant_min, quant_max], stride cols
  std::int32_t* clipped = nullptr;  // clipped entries of each row, [rows]
  float* values = nullptr;          // s·q
  std::int64_t values_stride = 0;
  std::uint16_t* bfloat16_codes = nullptr;  // q as bfloat16 (exact), stride cols

  // The tile as the right operand of a block product (ops/block_product.h): s·q transposed, and q as bfloat16
  // with neighbours in a 32-bit word, the lower one in the lower half, as dot-product instructions want them.
  float* transposed = nullptr;                // [cols, rows] with transposed_stride
  std::uint32_t* transposed_pairs = nullptr;  // [cols / 2, rows]: columns 2i and 2i + 1; cols even
  std::int64_t transposed_stride = 0;
  std::uint32_t* row_pairs = nullptr;  // [rows / 2, cols]: rows 2i and 2i + 1; rows even
  std::int64_t row_pairs_stride = 0;
  bool scaled_pairs = false;  // the pairs hold s·q rounded to bfloat16 instead of q (several scales a row)

  std::vector<ClippedEntry>* clipped_entries = nullptr;  // appended, in no particular order
  std::int32_t first_row = 0, first_col = 0;             // of the tile in the weight, for clipped_entries
};

// `scale` is read only where values or transposed are written.
void low_rank_tile(const LowRankTile& tile, const ScaleView& scale, const TileOutput& output);
void low_rank_tile_ref(const LowRankTile& tile, const ScaleView& scale, const TileOutput& output);

// The tile's part of the gradients, given grad = dL/dŴ [rows, cols] and the q and mask of low_rank_tile:
//   grad_scale[n, group] = Σ_k grad·q          (Φ0 does not depend on s, so q is the whole derivative)
//   grad <- grad · s · mask  (= dZ)
// grad_scale is [rows, groups], contiguous, groups = cols / group_size, whatever rows share their scale.
void low_rank_tile_gradient(std::int64_t rows, std::int64_t cols, const std::int8_t* codes,
                            const std::uint8_t* mask, const ScaleView& scale, float* grad, float* grad_scale);
void low_rank_tile_gradient_ref(std::int64_t rows, std::int64_t cols, const std::int8_t* codes,
                                const std::uint8_t* mask, const ScaleView& scale, float* grad,
                                float* grad_scale);

}  // namespace lrqat::kernels
