#include "lrqat/start/transform.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

// A deque: rows that others refer to stay where they are.
std::deque<Transform>& table() {
  static std::deque<Transform> rows{awq_transform()};
  return rows;
}

}  // namespace

std::vector<const Transform*> all_transforms() {
  std::vector<const Transform*> rows;
  for (const Transform& transform : table()) rows.push_back(&transform);
  return rows;
}

const Transform* find_transform(const std::string& name) {
  const auto found = std::find_if(table().begin(), table().end(),
                                  [&](const Transform& transform) { return transform.name == name; });
  return found == table().end() ? nullptr : &*found;
}

void add_transform(Transform transform) {
  if (is_init(transform.name))
    throw UsageError(concat("transform ", quote(transform.name), " is there already"));
  if (transform.name.empty() || transform.help.empty() || !transform.apply ||
      find_start(transform.then) == nullptr) {
    throw UsageError(concat("transform ", quote(transform.name),
                            ": a row has a name, a help, apply() and a start that follows"));
  }
  table().push_back(std::move(transform));
}

bool is_init(const std::string& name) {
  return find_start(name) != nullptr || find_transform(name) != nullptr;
}

}  // namespace lrqat::start
