#include "lrqat/train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

// Linear with warm-up 2 of 10: behind the warm-up the rates of the golden training run (tests/data/golden).
TEST(Schedule, LinearIsTheReferencesBehindTheWarmUp) {
  const Schedule schedule{ScheduleKind::linear, 10, 2};
  const double expected[] = {0.5, 1, 1, 7. / 8, 6. / 8, 5. / 8, 4. / 8, 3. / 8, 2. / 8, 1. / 8};
  for (int step = 0; step < 10; ++step) EXPECT_EQ(schedule.factor(step), expected[step]) << step;
  EXPECT_EQ(schedule.factor(10), 0.0);
  EXPECT_EQ(schedule.factor(1000), 0.0);
}

TEST(Schedule, CosineIsHalfACosine) {
  const Schedule schedule{ScheduleKind::cosine, 10, 2};
  EXPECT_EQ(schedule.factor(0), 0.5);
  EXPECT_EQ(schedule.factor(1), 1.0);
  for (int step = 2; step <= 10; ++step) {
    const double expected = 0.5 * (1 + std::cos(M_PI * (step - 2) / 8));
    EXPECT_NEAR(schedule.factor(step), expected, 1e-15) << step;  // a few ulp of cos
  }
  EXPECT_NEAR(schedule.factor(11), 0.0, 1e-15);
}

TEST(Schedule, ConstantStaysAfterWarmUp) {
  const Schedule schedule{ScheduleKind::constant, 10, 4};
  EXPECT_EQ(schedule.factor(2), 0.75);
  EXPECT_EQ(schedule.factor(3), 1.0);
  EXPECT_EQ(schedule.factor(4), 1.0);
  EXPECT_EQ(schedule.factor(100), 1.0);
}

TEST(Schedule, StartsAtFullRateWithoutWarmUp) {
  for (const auto kind : {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine}) {
    EXPECT_EQ((Schedule{kind, 5, 0}).factor(0), 1.0);
  }
}

TEST(Schedule, NoStepMovesNothing) {
  for (const auto kind : {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine}) {
    for (const int warmup : {0, 1, 3, 10}) {
      for (int step = 0; step < 10; ++step) EXPECT_GT((Schedule{kind, 10, warmup}).factor(step), 0.0) << step;
    }
  }
}

TEST(Schedule, MayBeAllWarmUp) {
  const Schedule schedule{ScheduleKind::linear, 4, 4};
  EXPECT_EQ(schedule.factor(3), 1.0);
  EXPECT_EQ(schedule.factor(4), 0.0);
}

TEST(Schedule, HasNames) {
  for (const auto kind : {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine}) {
    EXPECT_EQ(parse_schedule(schedule_name(kind)), kind);
  }
  EXPECT_THROW(parse_schedule("Linear"), UsageError);
}

}  // namespace
}  // namespace lrqat::train
