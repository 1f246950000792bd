// The rows of the tables of starts and transforms, each made by a file of its own.
#pragma once

#include "lrqat/start/start.h"
#include "lrqat/start/transform.h"

namespace lrqat::start {

Start auto_start();       // from_stored.cpp
Start stored_start();     // the same
Start range_start();      // from_range.cpp
Start rtn_start();        // the same
Start lp_start();         // the same
Start svd_start();        // from_decomposition.cpp
Start gptq_start();       // from_gptq.cpp
Start blockwise_start();  // blockwise.cpp

Transform awq_transform();  // awq.cpp

}  // namespace lrqat::start
