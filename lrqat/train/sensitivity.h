// What the model loses where its linears are rounded, to second order, for any rounding from one pass over
// some text. With L the cross-entropy of a token, y = W x and ΔW = Ŵ - W of one linear,
//     KL(W ‖ Ŵ) ≈ ½ Σ_ij F_ij ΔW_ij²      F_ij = E[(dL/dy_i)²] · E[‖dL/dy‖² x_j²] / E[‖dL/dy‖²]
// F is the diagonal of the Fisher information dL/dW ⊙ dL/dW of single tokens, with its average of products
// taken apart into the product of two averages; that of x counts a token as much as it moves the loss, since
// a few tokens (the first of a text) have inputs hundreds of times as large and no say. N out_features, K
// in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/train/packed_dataset.h"

namespace lrqat::train {

// The two factors of F of one linear, a token.
struct Sensitivity {
  at::Tensor output;  // E[(dL/dy_i)²], float64 [N]
  at::Tensor input;   // E[‖dL/dy‖² x_j²] / E[‖dL/dy‖²], float64 [K]
};

// Of every linear, by name, on about `tokens` tokens of the text, drawn by the seed. The decoder is as it was
// afterwards.
std::map<std::string, Sensitivity> measure_sensitivity(model::Decoder& decoder, const PackedDataset& text,
                                                       std::int64_t tokens, std::uint64_t seed,
                                                       ProgressReporter& progress);

// The expected KL, nats a token, where the linear is rounded to nearest: from at most 64 of its rows, evenly
// spread.
double rounding_cost(const Sensitivity& sensitivity, const nn::Linear& linear, const quant::QuantSpec& spec,
                     const quant::RangeEstimator& range);

}  // namespace lrqat::train
