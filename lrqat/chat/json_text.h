// The filter tojson of transformers: Python's json.dumps.
#pragma once

#include "lrqat/chat/operations.h"
#include "lrqat/chat/signature.h"

namespace lrqat::chat {

// Arguments: ensure_ascii, indent, separators, sort_keys.
Value to_json(Runtime& runtime, const Value& value, const Bound& bound);

}  // namespace lrqat::chat
