#include "lrqat/train/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::train {
namespace {

struct Name {
  ScheduleKind kind;
  const char* name;
};

constexpr std::array<Name, 3> kNames{{{ScheduleKind::constant, "constant"},
                                      {ScheduleKind::linear, "linear"},
                                      {ScheduleKind::cosine, "cosine"}}};

}  // namespace

ScheduleKind parse_schedule(std::string_view name) {
  for (const Name& row : kNames) {
    if (name == row.name) return row.kind;
  }
  throw UsageError(concat("`schedule` ", quote(name), " is not known: use constant, linear or cosine"));
}

std::string schedule_name(ScheduleKind kind) {
  for (const Name& row : kNames) {
    if (kind == row.kind) return row.name;
  }
  internal_error(__FILE__, __LINE__, "schedule kind", "unknown value");
}

double Schedule::factor(std::int64_t step) const {
  if (step < warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  if (kind == ScheduleKind::constant) return 1.0;
  const std::int64_t left = std::max<std::int64_t>(total_steps - step, 0);
  const std::int64_t decay = std::max<std::int64_t>(total_steps - warmup_steps, 1);
  const double share = static_cast<double>(left) / static_cast<double>(decay);  // 1 … 0
  if (kind == ScheduleKind::linear) return share;
  return 0.5 * (1.0 - std::cos(std::numbers::pi * share));
}

}  // namespace lrqat::train
