// The fused tile kernel against its readable twin and against memcpy of what it writes: one thread, a tile of
// 64 rows of 2048 columns, rank 32, Φ0 as fixed_point8.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "lrqat/base/random.h"
#include "lrqat/kernels/low_rank_tile.h"

namespace lrqat::kernels {
namespace {

constexpr std::int64_t kRows = 64, kCols = 2048, kRank = 32;

struct Tile {
  std::vector<std::int8_t> phi = std::vector<std::int8_t>(kRows * kCols);
  std::vector<float> a = std::vector<float>(kRows * kRank), b = std::vector<float>(kRank * kCols);
  std::vector<float> scale = std::vector<float>(kRows, 0.01F), values = std::vector<float>(kRows * kCols);
  LowRankTile tile;
  ScaleView scales{scale.data(), 1, kCols};
  TileOutput output;

  Tile() {
    Random random(3);
    for (auto& value : phi) value = static_cast<std::int8_t>(random.below(256));
    for (auto& value : a) value = static_cast<float>(random.uniform() - 0.5) * 0.1F;
    for (auto& value : b) value = static_cast<float>(random.uniform() - 0.5) * 0.1F;
    tile.phi = {PhiType::int8, phi.data(), kCols, 1.0F / 16};
    tile.rows = kRows;
    tile.cols = kCols;
    tile.lora_a = a.data();
    tile.lora_b = b.data();
    tile.rank = kRank;
    output.values = values.data();
    output.values_stride = kCols;
  }
};

void fused(benchmark::State& state) {
  Tile t;
  for (auto _ : state) low_rank_tile(t.tile, t.scales, t.output);
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

void reference(benchmark::State& state) {
  Tile t;
  for (auto _ : state) low_rank_tile_ref(t.tile, t.scales, t.output);
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

void copy_of_the_result(benchmark::State& state) {
  Tile t;
  std::vector<float> to(t.values.size());
  for (auto _ : state) {
    std::memcpy(to.data(), t.values.data(), to.size() * sizeof(float));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kRows * kCols);
}

BENCHMARK(fused);
BENCHMARK(reference);
BENCHMARK(copy_of_the_result);

}  // namespace
}  // namespace lrqat::kernels

BENCHMARK_MAIN();
