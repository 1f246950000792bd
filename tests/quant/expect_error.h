// Test helper: `action` must throw exactly a Kind of error whose message holds every one of `parts`.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace lrqat::quant::testing {

template <typename Kind>
void expect_error(const std::function<void()>& action, const std::vector<std::string>& parts) {
  try {
    action();
  } catch (const Kind& error) {
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "message: " << error.what() << "\nexpected in it: " << part;
    }
    return;
  }
  ADD_FAILURE() << "no error, expected one with: " << (parts.empty() ? "" : parts[0]);
}

}  // namespace lrqat::quant::testing
