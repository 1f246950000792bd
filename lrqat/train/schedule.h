// Learning rate over time, as a factor of each parameter's own rate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lrqat::train {

enum class ScheduleKind { constant, linear, cosine };
ScheduleKind parse_schedule(std::string_view name);  // UsageError that lists the names
std::string schedule_name(ScheduleKind kind);

// Warm-up: factor(step) = (step + 1) / warmup_steps for step < warmup_steps, so that every step moves
// something (the reference's first does not). Then down to 0 at total_steps: linearly, along half a cosine,
// or not at all. `step` counts from 0.
struct Schedule {
  ScheduleKind kind = ScheduleKind::linear;
  std::int64_t total_steps = 0;
  std::int64_t warmup_steps = 0;

  double factor(std::int64_t step) const;
};

}  // namespace lrqat::train
