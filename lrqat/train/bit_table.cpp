#include "lrqat/train/bit_table.h"

#include <algorithm>
#include <cstdio>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

std::int64_t stored_bits(const Target& target, const Layer& layer) {
  const quant::Granularity& granularity = layer.own.grid_granularity();
  if (is_held(target, granularity, layer)) return target.stored_bits(layer.grid, granularity);
  const auto scales = granularity.scale_shape(layer.grid.out_features, layer.grid.in_features);
  return layer.weights() * layer.grid.grid.num_bits + scales[0] * scales[1] * layer.grid.scale_bits;
}

double ratio(std::int64_t part, std::int64_t all) {
  return all == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(all);
}

}  // namespace

BitTable bit_table(const Target& target, const Layers& layers) {
  BitTable table;
  for (const Layer& layer : layers) {
    const auto& granularity = layer.own.grid_granularity();
    const auto same = [&](const BitRow& row) {
      return row.bits == layer.own.bits && row.granularity == granularity;
    };
    auto row = std::find_if(table.rows.begin(), table.rows.end(), same);
    if (row == table.rows.end()) row = table.rows.insert(row, {layer.own.bits, granularity});
    ++row->linears;
    row->weights += layer.weights();
    row->stored_bits += stored_bits(target, layer);
  }
  std::stable_sort(table.rows.begin(), table.rows.end(),
                   [](const BitRow& a, const BitRow& b) { return a.bits < b.bits; });
  return table;
}

std::int64_t BitTable::weights() const {
  std::int64_t sum = 0;
  for (const BitRow& row : rows) sum += row.weights;
  return sum;
}

std::int64_t BitTable::stored_bits() const {
  std::int64_t sum = 0;
  for (const BitRow& row : rows) sum += row.stored_bits;
  return sum;
}

double BitTable::bits_per_weight() const { return ratio(stored_bits(), weights()); }

std::vector<std::string> BitTable::lines(const std::string& target) const {
  char line[160];
  std::snprintf(line, sizeof(line),
                "%.4f bits a weight in the linears for %s (scales included; embedding, head and norms apart)",
                bits_per_weight(), target.c_str());
  std::vector<std::string> lines{line};
  for (const BitRow& row : rows) {
    std::snprintf(line, sizeof(line),
                  "  %d bits %-10s %5lld linears %5.1f %% of the weights, %.4g bits stored", row.bits,
                  row.granularity.name().c_str(), static_cast<long long>(row.linears),
                  100.0 * ratio(row.weights, weights()), ratio(row.stored_bits, row.weights));
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace lrqat::train
