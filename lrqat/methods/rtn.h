// Rounding to nearest, the baseline: integers, and nothing to train (quant/integer_weight.h).
#pragma once

namespace lrqat::methods {

struct Method;

Method rtn_method();  // its row (method.h)

}  // namespace lrqat::methods
