#include "lrqat/start/transform.h"

#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/row_table.h"
#include "lrqat/base/user_text.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

RowTable<Transform>& table() {
  static RowTable<Transform> rows{awq_transform()};
  return rows;
}

}  // namespace

std::vector<const Transform*> all_transforms() { return table().all(); }

const Transform* find_transform(const std::string& name) { return table().find(name); }

void add_transform(Transform transform) {
  if (is_init(transform.name))
    throw UsageError(concat("transform ", quote(transform.name), " is there already"));
  if (transform.name.empty() || transform.help.empty() || !transform.apply ||
      find_start(transform.then) == nullptr) {
    throw UsageError(concat("transform ", quote(transform.name),
                            ": a row has a name, a help, apply() and a start that follows"));
  }
  table().add(std::move(transform));
}

bool is_init(const std::string& name) {
  return find_start(name) != nullptr || find_transform(name) != nullptr;
}

}  // namespace lrqat::start
