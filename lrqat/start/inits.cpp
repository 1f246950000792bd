#include "lrqat/start/inits.h"

#include <algorithm>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/start/transform.h"

namespace lrqat::start {
namespace {

struct Row {
  std::string name, help;
};

std::vector<Row> rows() {
  std::vector<Row> out;
  for (const Start* start : all_starts()) out.push_back({start->name, start->help});
  for (const Transform* transform : all_transforms()) out.push_back({transform->name, transform->help});
  return out;
}

// The methods that take it.
std::string takers_of(const std::string& init) {
  std::string names;
  for (const methods::Method* method : methods::all_methods()) {
    if (takes(*method, init)) names += (names.empty() ? "" : ", ") + method->name;
  }
  return names;
}

// "lr-qat, qlora: " where the method has to have more than a grid.
std::string special_takers_of(const std::string& init) {
  const auto all = methods::all_methods();
  const bool common = std::all_of(all.begin(), all.end(), [&](const methods::Method* method) {
    return !method->has_grid || takes(*method, init);
  });
  return common ? "" : takers_of(init) + ": ";
}

}  // namespace

std::string known_inits(const std::function<bool(const std::string& init)>& which) {
  std::vector<Row> all = rows();
  if (which) std::erase_if(all, [&](const Row& row) { return !which(row.name); });
  std::string names;
  for (std::size_t i = 0; i < all.size(); ++i)
    names += (i == 0 ? "" : i + 1 == all.size() ? " or " : ", ") + all[i].name;
  return names;
}

std::string init_help() {
  std::string text;
  for (const auto& [name, help] : rows()) {
    text += concat(text.empty() ? "" : ", ", name, " (", special_takers_of(name), help, ")");
  }
  return text;
}

std::string parse_init(const std::string& name) {
  if (is_init(name)) return name;
  throw UsageError(concat("`init` ", quote(name), ": expected ", known_inits()));
}

const Start& start_of(const std::string& init) {
  const Transform* transform = find_transform(init);
  const Start* start = find_start(transform != nullptr ? transform->then : init);
  if (start == nullptr) throw UsageError(concat("`init` ", quote(init), ": expected ", known_inits()));
  return *start;
}

bool is_transform(const std::string& init) { return find_transform(init) != nullptr; }

bool needs_text(const std::string& init) { return is_transform(init) || start_of(init).needs_text(); }

bool reads_text_options(const std::string& init) { return start_of(init).reads_text_options; }

bool starts_blocks(const std::string& init) { return static_cast<bool>(start_of(init).block); }

bool fills_adapters(const std::string& init) { return start_of(init).gives == Gives::adapters; }

const Start& auto_from_text() {
  const auto all = all_starts();
  const auto chosen =
      std::find_if(all.begin(), all.end(), [](const Start* start) { return start->chosen_by_auto; });
  LRQAT_CHECK(chosen != all.end());
  return **chosen;
}

bool takes(const methods::Method& method, const std::string& init) {
  const Transform* transform = find_transform(init);
  if (transform != nullptr && transform->needs_grid && !method.has_grid) return false;
  return is_taken_by(start_of(init), method);
}

void check_init(const methods::Method& method, const std::string& init) {
  if (takes(method, init)) return;
  throw UsageError(concat("`init` ", init, ": `method` ", method.name,
                          fills_adapters(init) ? " has no adapters that a decomposition could fill"
                          : method.has_grid    ? " does not start so"
                                               : " does not start from integers",
                          "; ", takers_of(init), " do"));
}

std::int64_t bytes_at_work(const std::string& init, const model::DecoderLayer& layer) {
  const Transform* transform = find_transform(init);
  const auto& bytes = transform != nullptr ? transform->bytes : start_of(init).bytes;
  return bytes ? bytes(layer) : 0;
}

}  // namespace lrqat::start
