// The table of ggml's tensor types (ggml.h: enum ggml_type; sizes from ggml-common.h). One row a type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lrqat::formats {

enum class GgmlType : std::uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q8_1 = 9,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  Q8_K = 15,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39,
  NVFP4 = 40,
  Q1_0 = 41,
  Q2_0 = 42,
};

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;
  std::int64_t block_elements;
  std::size_t block_bytes;
  bool can_dequantize;  // dequantize_row (ggml_blocks.h) knows it
};

std::span<const GgmlTypeInfo> ggml_types();                 // every row
const GgmlTypeInfo* find_ggml_type(std::uint32_t id);       // nullptr: not in the table
const GgmlTypeInfo* find_ggml_type(std::string_view name);  // by name, "Q4_0"
const GgmlTypeInfo& ggml_type_info(GgmlType type);
std::string_view ggml_type_name(GgmlType type);
std::string known_ggml_types();         // "F32, F16, …": the ones that can be dequantized, for messages
double bits_per_weight(GgmlType type);  // 4.5 for Q4_0

// Bytes of n elements along the input dimension; n must be a multiple of the block (LRQAT_CHECK).
std::size_t ggml_row_bytes(GgmlType type, std::int64_t n);

}  // namespace lrqat::formats
