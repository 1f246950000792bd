// Test helper for one file of a test executable: its tests run on one thread. Their weights are so small that
// threads would do nothing but wait for each other; the test that is about threads sets their number itself.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace {

class OneThread : public ::testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};

[[maybe_unused]] const auto* const one_thread = ::testing::AddGlobalTestEnvironment(new OneThread);

}  // namespace
