// Where LR-QAT starts from, besides its plain form (LrQatWeight::prepare): asymmetric grids, adapters from a
// singular value decomposition, integers of GPTQ, a downcast that keeps every code (docs/method.md section
// 2).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/quant/gptq.h"

namespace lrqat::methods {

struct Method;

struct LrQatStart {
  // False: Ŵ = s·(clip(round(Z)) - z) with whole zero points z of the range; Φ0 is stored
  // relative to the middle of the grid, φ(W/s0 + z), so that every φ works unchanged.
  bool symmetric = true;
  // True: a Φ0 that would round to another code than W/s0 moves by one unit towards W/s0's code, so that the
  // start equals rounding to nearest.
  bool faithful = false;
  // Above 0: A·B starts as the rank-R decomposition of the rounding residue W/s0 - Q, Q = round(W/s0), the
  // best of that many LoftQ steps, and Φ0 = φ(W/s0 - γAB), or Q where φ stores codes.
  int svd_steps = 0;
};

// As LrQatWeight::prepare. UsageError where `faithful` and svd_steps exclude each other.
std::shared_ptr<LrQatWeight> start_lr_qat(const std::string& name, const at::Tensor& weight,
                                          const LrQatOptions& options, const LrQatStart& start,
                                          const quant::InitialRange& range, std::uint64_t seed);

// From integers that something better than rounding to nearest chose: Φ0 = φ(start.unrounded), moved by one
// unit of φ where it would round to another code, so that the first Ŵ is start.rounded exactly, and weights
// that lay near a border of their code still do. `name` is for messages.
std::shared_ptr<LrQatWeight> start_lr_qat(const std::string& name, const quant::RoundedWeight& start,
                                          const LrQatOptions& options, std::uint64_t seed);

// Stores u (float32 [rows, K], rows from row_begin on) and moves what would round to another code than u.
void store_faithfully(quant::Phi0& phi_0, std::int64_t row_begin, const at::Tensor& u,
                      quant::Downcast downcast, const quant::Grid& grid);

Method lr_qat_method();  // its row (method.h)

}  // namespace lrqat::methods
