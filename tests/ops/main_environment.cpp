#include "tests/quant/one_thread.h"
