#include "lrqat/start/start.h"

#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/row_table.h"
#include "lrqat/base/user_text.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

RowTable<Start>& table() {
  static RowTable<Start> rows{auto_start(), stored_start(), range_start(), rtn_start(),
                              lp_start(),   svd_start(),    gptq_start(),  blockwise_start()};
  return rows;
}

}  // namespace

std::vector<const Start*> all_starts() { return table().all(); }

const Start* find_start(const std::string& name) { return table().find(name); }

void add_start(Start start) {
  if (is_init(start.name)) throw UsageError(concat("start ", quote(start.name), " is there already"));
  const int ways = (start.linear ? 1 : 0) + (start.group ? 1 : 0) + (start.block ? 1 : 0);
  if (start.name.empty() || start.help.empty() || ways != 1) {
    throw UsageError(concat("start ", quote(start.name),
                            ": a row has a name, a help, and one of linear(), group() and block()"));
  }
  table().add(std::move(start));
}

bool is_taken_by(const Start& start, const methods::Method& method) {
  if (start.needs_grid && !method.has_grid) return false;
  switch (start.gives) {
    case Gives::range:
      return true;
    case Gives::integers:
      return static_cast<bool>(method.from_integers);
    case Gives::adapters:
      return static_cast<bool>(method.from_decomposition);
  }
  internal_error(__FILE__, __LINE__, "start", start.name);
}

}  // namespace lrqat::start
