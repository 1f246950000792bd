// AWQ's channel scales as a transform (quant/awq.h, channel_scales.h).
#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/start/channel_scales.h"
#include "lrqat/start/input_statistics.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

// All of its linears take part (a float one beside them would need its weight stored anew), and so does what
// feeds them, where that is a linear: its bias would have to be divided too.
bool can_rescale(const model::LinearGroup& group, const SpecOf& spec_of) {
  const nn::Linear* producer = group.producer.linear;
  if (producer == nullptr && group.producer.norm == nullptr) return false;
  if (producer != nullptr && (producer->bias().defined() || !spec_of(*producer))) return false;
  return std::all_of(group.linears.begin(), group.linears.end(),
                     [&](const nn::Linear* linear) { return spec_of(*linear).has_value(); });
}

// On the linear's own grid with the min-max range, which is quick.
quant::RoundValues rounding_of(const std::string& name, const quant::QuantSpec& spec) {
  return [name, spec](const at::Tensor& weight) {
    return quant::values_of(quant::IntegerWeight(name, quant::round_to_nearest(name, weight, spec)));
  };
}

void rescale(const model::LinearGroup& group, quant::InputStatistics input, const SpecOf& spec_of,
             LayerWeights& weights) {
  if (group.producer.copies > 1) input.mean_abs = shared_by_copies(input.mean_abs, group);
  std::vector<at::Tensor> matrices;
  std::vector<quant::RoundValues> round;
  for (const nn::Linear* linear : group.linears) {
    matrices.push_back(weights.matrices.at(linear->name()));
    round.push_back(rounding_of(linear->name(), *spec_of(*linear)));
  }
  fold(group, quant::search_channel_scales(matrices, input, round), weights);
}

void apply(const Block& block, const SpecOf& spec_of, LayerWeights& weights) {
  const auto statistics = input_statistics(block);
  const auto groups = block.layer().linear_groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (can_rescale(groups[i], spec_of)) rescale(groups[i], statistics[i], spec_of, weights);
  }
}

// All matrices and Hessians of a layer; the candidate of one matrix, its codes, values and output error.
std::int64_t bytes(const model::DecoderLayer& layer) {
  std::int64_t all = 0, largest = 0;
  for (const model::ConstLinearGroup& group : layer.linear_groups()) {
    for (const nn::Linear* linear : group.linears) {
      const std::int64_t weights = linear->out_features() * linear->in_features();
      all += 4 * weights;
      largest = std::max(largest, weights);
    }
    all += 4 * group.in_features() * group.in_features();
  }
  return all + 14 * largest;
}

}  // namespace

Transform awq_transform() {
  return {.name = "awq", .help = "channels rescaled by calibration text", .apply = apply, .bytes = bytes};
}

}  // namespace lrqat::start
