// A model's positions bound what goes through it at once, in training and everywhere else.
#pragma once

#include <cstdint>
#include <string>

#include "lrqat/formats/model_config.h"

namespace lrqat::model {

// UsageError where `tokens`, which `setting` asks for ("`context`"), are more than the model has positions
// for.
void check_positions(const formats::ModelConfig& config, const std::string& setting, std::int64_t tokens);

}  // namespace lrqat::model
