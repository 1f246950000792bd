// The start in which adapters hold what rounding loses (LoftQ, arXiv 2310.08659). How depends on what the
// adapters are added to: the methods that have such adapters decompose themselves.
#include "lrqat/start/rows.h"

namespace lrqat::start {

Start svd_start() {
  return {.name = "svd",
          .help = "adapters from the rounding residue",
          .gives = Gives::adapters,
          .linear = [](const LinearInput&) -> Given { return Decomposition{}; }};
}

}  // namespace lrqat::start
