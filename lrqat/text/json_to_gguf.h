// What llama.cpp can make of a tokenizer.json: the vocabulary that a GGUF file would hold.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/text/pipeline.h"
#include "lrqat/text/word_model.h"

namespace lrqat::text {

// Fills pipeline.gguf, or says in pipeline.gguf_problem why there is none. `normalizer` is the file's.
void fill_gguf(Pipeline& pipeline, const Json& normalizer, const MergeBpeOptions& options,
               const std::vector<std::pair<std::string, std::string>>& merges);

}  // namespace lrqat::text
