// The table of starts: where the weight of a linear begins, one row a start, which --init names. A start sees
// the float weight, the integers that the model may have and, where it needs calibration text, the inputs of
// the linear, and gives one of the things that a method can begin with (methods/method.h): it knows no
// method. A program that links the library adds rows of its own with add_start(). N out_features, K
// in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lrqat/methods/method.h"
#include "lrqat/quant/gptq.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/start/layer_pass.h"

namespace lrqat::start {

// A linear that is to start.
struct LinearInput {
  std::string name;
  at::Tensor weight;  // float32 [N, K]
  methods::LayerOptions options;
  // The model's integers on the grid of `options`: for rows that look for them, where the model has some.
  std::optional<quant::QuantizedWeight> stored;
};

// What a start gives, and which function of a method takes it.
enum class Gives {
  range,     // scales and zero points, or the estimator that finds them: Method::prepare
  integers,  // integers, scales, zero points and the (compensated) weight that was rounded: from_integers
  adapters,  // that adapters start from a decomposition of the rounding residue: from_decomposition
};
struct Decomposition {};
using Given =
    std::variant<quant::InitialRange, quant::RoundedWeight, Decomposition>;  // in the order of Gives
using StartLinear = std::function<Given(const LinearInput& linear)>;

// Settings of starts that look at calibration text.
struct TextOptions {
  double gptq_damping = 0.01;  // a share of the Hessian's mean diagonal
  bool gptq_act_order = true;
  std::int64_t block_steps = 100;     // of block-wise optimisation
  std::int64_t block_batch_size = 1;  // sequences a step
  double block_lr = 1.0;              // first step of rounding offsets, times 1 / block_steps
  double block_range_lr = 1.0;        // of the factors of ranges, likewise
  std::uint64_t seed = 0;
};

// Linears that read the same input, some of which are to start.
struct GroupInput {
  const model::LinearGroup& group;
  ForEachInput inputs;  // as the linears before the group, which have started, produce them
  at::Device device;
  TextOptions options;
};

// A block whose linears start together.
struct BlockInput {
  struct Linear {
    nn::Linear* linear;  // takes any weight while the block is looked at
    LinearInput input;
  };
  Block& block;  // its other linears have started; has Block::target()
  std::vector<Linear> linears;
  TextOptions options;
};
// In the order of its linears. The weights are the start's to use up.
using StartBlock = std::function<std::vector<Given>(BlockInput& block)>;

// What a start does with integers that the model has on the linear's grid.
enum class Stored { ignored, taken, required };

struct Start {
  std::string name;  // of --init
  std::string help;
  Gives gives = Gives::range;
  bool needs_grid = true;  // false: methods whose weights stay float take it too
  Stored stored = Stored::ignored;
  bool reads_text_options = false;  // TextOptions
  bool chosen_by_auto = false;      // what `auto` becomes where there is text (inits.h)
  // Settings that the start brings with it; null: none.
  std::function<void(quant::RangeEstimator& range, bool& faithful_downcast)> sets{};
  // One of the next three. For a linear by itself:
  StartLinear linear{};
  // From calibration text: what the linears of a group have in common is found once, then each starts.
  std::function<StartLinear(const GroupInput& group)> group{};
  // From calibration text, all linears of a block at once, by what the float block gives.
  StartBlock block{};
  // Most bytes at work for a group of this layer, besides hidden states and what is kept; null: few.
  std::function<std::int64_t(const model::DecoderLayer& layer)> bytes{};

  bool needs_text() const { return group || block; }
};

std::vector<const Start*> all_starts();
const Start* find_start(const std::string& name);  // null: no such row

// Adds a row to the table, at the start of a program. UsageError where the name is taken or the row lacks
// what it must have.
void add_start(Start start);

// Whether the method can begin with what the start gives.
bool is_taken_by(const Start& start, const methods::Method& method);

}  // namespace lrqat::start
