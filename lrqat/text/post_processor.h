// Post-processors of tokenizer.json: what is put before and after the ids of a text. (Those that only adjust
// offsets do nothing here.)
#pragma once

#include <string>

#include "lrqat/base/json.h"
#include "lrqat/text/pipeline.h"

namespace lrqat::text {

// Sets the pipeline's prefix and suffix from `json` (null: nothing). Error for what is not known.
void apply_post_processor(const Json& json, const std::string& where, Pipeline& pipeline);

}  // namespace lrqat::text
