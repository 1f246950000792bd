// The start from GPTQ's integers (quant/gptq.h).
#include <algorithm>
#include <memory>

#include "lrqat/start/input_statistics.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

StartLinear begin(const GroupInput& group) {
  const auto factor = std::make_shared<const quant::GptqFactor>(
      quant::GptqFactor::from_hessian(input_hessian(group.group, group.inputs, group.device),
                                      group.options.gptq_damping, group.options.gptq_act_order));
  return [factor](const LinearInput& linear) -> Given {
    return quant::gptq(linear.name, linear.weight, *factor, linear.options.spec, linear.options.range);
  };
}

// A Hessian that becomes its factor, the weight, what it was rounded from and codes, rows at work.
std::int64_t bytes(const model::DecoderLayer& layer) {
  constexpr std::int64_t kRows = std::int64_t{128} << 20;  // a few of gptq()'s pieces of rows
  std::int64_t most = 0;
  for (const nn::Linear* linear : layer.linears()) {
    const std::int64_t k = linear->in_features();
    most = std::max(most, 4 * k * k + 9 * linear->out_features() * k);
  }
  return most + kRows;
}

}  // namespace

Start gptq_start() {
  return {.name = "gptq",
          .help = "integers by calibration text",
          .gives = Gives::integers,
          .reads_text_options = true,
          .chosen_by_auto = true,
          .group = begin,
          .bytes = bytes};
}

}  // namespace lrqat::start
