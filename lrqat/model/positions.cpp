#include "lrqat/model/positions.h"

#include "lrqat/base/error.h"

namespace lrqat::model {

void check_positions(const formats::ModelConfig& config, const std::string& setting, std::int64_t tokens) {
  if (tokens <= config.max_position_embeddings) return;
  throw UsageError(concat(setting, ": ", tokens, " tokens at once, but this model has ",
                          config.max_position_embeddings,
                          " positions (max_position_embeddings): at most as many are allowed"));
}

}  // namespace lrqat::model
