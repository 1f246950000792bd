// The rotary settings of config.json.
#pragma once

#include <string>

#include "lrqat/base/json.h"
#include "lrqat/formats/model_config.h"

namespace lrqat::formats {

// Old spelling: rope_theta beside rope_scaling {"rope_type" or "type", …}; new spelling: rope_parameters
// holds all.
void read_rope(const Json& json, ModelConfig& config, const std::string& where);
Json rope_to_json(const ModelConfig& config);  // in the new spelling

}  // namespace lrqat::formats
