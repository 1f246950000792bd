#include "lrqat/start/start.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

// A deque: rows that others refer to stay where they are.
std::deque<Start>& table() {
  static std::deque<Start> rows{auto_start(), stored_start(), range_start(), rtn_start(),
                                lp_start(),   svd_start(),    gptq_start()};
  return rows;
}

}  // namespace

std::vector<const Start*> all_starts() {
  std::vector<const Start*> rows;
  for (const Start& start : table()) rows.push_back(&start);
  return rows;
}

const Start* find_start(const std::string& name) {
  const auto found =
      std::find_if(table().begin(), table().end(), [&](const Start& start) { return start.name == name; });
  return found == table().end() ? nullptr : &*found;
}

void add_start(Start start) {
  if (is_init(start.name)) throw UsageError(concat("start ", quote(start.name), " is there already"));
  if (start.name.empty() || start.help.empty() || static_cast<bool>(start.linear) == start.needs_text()) {
    throw UsageError(
        concat("start ", quote(start.name), ": a row has a name, a help, and either linear() or group()"));
  }
  table().push_back(std::move(start));
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
