// Gives the linears of a float model the weights that training starts with: asks the tables of starts and
// transforms by the names of --init. N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/methods/method.h"
#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/start/layer_pass.h"
#include "lrqat/start/start.h"

namespace lrqat::start {

// What one linear starts from.
struct LinearPlan {
  std::string init;  // of a start or a transform
  methods::LayerOptions options;
};
// By the linear's name; nothing: it stays float.
using PlanOf = std::function<std::optional<LinearPlan>(const std::string& linear)>;

struct Plan {
  const methods::Method& method;
  PlanOf of;
  TextOptions text = {};
};

// For one linear, by a start that needs no text. stored: the integers that `weight` are the values of, where
// the model has some. Error where the start wants them and their grid is not the plan's, or where the plan's
// scale type does not hold their scales.
methods::WeightPtr start_linear(const methods::Method& method, const LinearPlan& plan,
                                const std::string& name, const at::Tensor& weight,
                                const quant::QuantizedWeight* stored = nullptr);
// True where the linear, which still has the model's own weight, starts from that weight's integers.
bool starts_from_stored(const methods::Method& method, const LinearPlan& plan, const nn::Linear& linear);

// Gives every linear of `decoder`, the float model of `source`, its weight, by starts that need no text. Says
// how many start from integers.
void start_linears(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source,
                   ProgressReporter& progress);

// Where a start from calibration text keeps what does not have to be in memory.
struct Workspace {
  // Of an earlier program, which was killed: it goes on from there. Empty: there was none.
  std::filesystem::path begun = {};
  // Gives the folder, which it makes as soon as something has to be kept: from then on a killed program can
  // go on with the block that it was at. Blocks that are done become pages of files there, in the decoder
  // too, and stay so. Null: everything stays in memory.
  std::function<std::filesystem::path()> folder = {};
  bool hidden_on_disk = false;  // hidden states lie there too, instead of in memory
};

// The same with starts and transforms that look at calibration text. batches: tokens [B, L] int64.
void start_linears(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source,
                   std::span<const at::Tensor> batches, ProgressReporter& progress,
                   const Workspace& space = {});
// One block of it. The other blocks stay as they are.
void prepare_block(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source,
                   Block& block);

}  // namespace lrqat::start
