// What a run's integers are for (`for`): the file that they will go into, and which groups of weights may
// share a scale there. K in_features, N out_features.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lrqat/quant/grid.h"

namespace lrqat::train {

// The integers of one linear as a recipe makes them.
struct LinearGrid {
  std::int64_t out_features = 0, in_features = 0;
  quant::Grid grid;
  bool symmetric = true;
  int scale_bits = 16;  // of a scale, where the file has a choice
};

struct Target {
  std::string name;       // as in `lrqat export --format`
  bool one_grid = false;  // one width and one granularity for all linears
  bool fuses = false;     // programs read linears of one input as one matrix, which has one width
  // What shares a scale, best first: the finest that costs no more bytes and that programs are fast with.
  std::function<std::vector<quant::Granularity>(const LinearGrid&)> granularities;
  // Why the file does not hold such integers; empty: it does. Of zero points only what holds for all of them.
  std::function<std::string(const LinearGrid&, const quant::Granularity&)> obstacle;
  // Bits that the linear takes in the file, its scales and zero points included. Where there is no obstacle.
  std::function<std::int64_t(const LinearGrid&, const quant::Granularity&)> stored_bits;
};

const Target& find_target(const std::string& name);  // UsageError that lists the names
std::string parse_target(const std::string& name);   // the name itself, checked
std::string known_targets();                         // "gguf, compressed-tensors, …"

}  // namespace lrqat::train
