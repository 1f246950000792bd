// The fused tile kernel for every φ and every form that it writes, against its readable twin and against
// memcpy of what it writes: one thread, a tile of 64 rows of 2048 columns, rank 32. bytes_per_second counts
// Φ0 read and the result written, of memcpy the result read and written; items are weights.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "lrqat/base/random.h"
#include "lrqat/kernels/low_rank_tile.h"

namespace lrqat::kernels {
namespace {

constexpr std::int64_t kRows = 64, kCols = 2048, kRank = 32;

enum Form { values, transposed, pairs };  // float32 rows; float32 operand; bfloat16 operand
constexpr const char* kFormNames[] = {"values", "operand", "bfloat16 operand"};
constexpr const char* kTypeNames[] = {"float32", "bfloat16", "float16", "int8", "int4"};

std::int64_t row_bytes(PhiType type) {
  switch (type) {
    case PhiType::float32:
      return 4 * kCols;
    case PhiType::bfloat16:
    case PhiType::float16:
      return 2 * kCols;
    case PhiType::int8:
      return kCols;
    case PhiType::int4:
      return kCols / 2;
  }
  return 0;
}

struct Tile {
  // Zero bytes are a number in every type; the kernel's time does not depend on which.
  std::vector<std::uint8_t> phi = std::vector<std::uint8_t>(4 * kRows * kCols);
  std::vector<float> a = std::vector<float>(kRows * kRank), b = std::vector<float>(kRank * kCols);
  std::vector<float> scale = std::vector<float>(kRows, 0.01F), result = std::vector<float>(kRows * kCols);
  LowRankTile tile;
  ScaleView scales{scale.data(), 1, kCols};
  TileOutput output;
  std::int64_t bytes;  // read and written

  Tile(PhiType type, Form form) : bytes(kRows * row_bytes(type) + kRows * kCols * (form == pairs ? 2 : 4)) {
    Random random(3);
    for (auto& value : a) value = static_cast<float>(random.uniform() - 0.5) * 0.1F;
    for (auto& value : b) value = static_cast<float>(random.uniform() - 0.5) * 0.1F;
    tile.phi = {type, phi.data(), row_bytes(type), 1.0F / 16};
    tile.rows = kRows;
    tile.cols = kCols;
    tile.lora_a = a.data();
    tile.lora_b = b.data();
    tile.rank = kRank;
    if (form == values) {
      output.values = result.data();
      output.values_stride = kCols;
    } else if (form == transposed) {
      output.transposed = result.data();
      output.transposed_stride = kRows;
    } else {
      output.transposed_pairs = reinterpret_cast<std::uint32_t*>(result.data());
      output.transposed_stride = kRows;
    }
  }
};

void run(benchmark::State& state, void (*kernel)(const LowRankTile&, const ScaleView&, const TileOutput&)) {
  const auto type = static_cast<PhiType>(state.range(0));
  const auto form = static_cast<Form>(state.range(1));
  Tile t(type, form);
  for (auto _ : state) kernel(t.tile, t.scales, t.output);
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
  state.SetBytesProcessed(state.iterations() * t.bytes);
  state.SetLabel(std::string(kTypeNames[state.range(0)]) + " to " + kFormNames[form]);
}

void fused(benchmark::State& state) { run(state, low_rank_tile); }
void reference(benchmark::State& state) { run(state, low_rank_tile_ref); }

void copy_of_the_result(benchmark::State& state) {
  const std::vector<float> from(kRows * kCols);
  std::vector<float> to(from.size());
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), to.size() * sizeof(float));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
  state.SetBytesProcessed(state.iterations() * kRows * kCols * 8);
}

BENCHMARK(fused)->ArgsProduct({{0, 1, 2, 3, 4}, {values, transposed, pairs}});
BENCHMARK(reference)->ArgsProduct({{3}, {values, transposed, pairs}});
BENCHMARK(copy_of_the_result);

}  // namespace
}  // namespace lrqat::kernels

BENCHMARK_MAIN();
