// What the user is told of exceptions that no one of ours threw: a sentence with what to do, nothing of the
// libraries' own sources.
#include "lrqat/cli/failure.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <limits>
#include <new>
#include <system_error>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"

namespace lrqat::cli {
namespace {

Failure failure_of(const std::function<void()>& action) {
  try {
    action();
  } catch (...) {
    return describe_failure();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

// What the compiler cannot leave out.
std::vector<double>& kept() {
  static std::vector<double> values;
  return values;
}

struct Case {
  std::function<void()> action;
  int exit_code;
  std::string says;
};

TEST(Failure, IsTheUsersLanguage) {
  constexpr std::int64_t kTooMuch = std::int64_t{1} << 55;
  const std::vector<Case> cases = {
      {[] { at::empty({kTooMuch}, at::kFloat); }, 1, "not enough memory"},
      {[] { kept().resize(std::size_t{1} << 55); }, 1, "not enough memory"},
      {[] { kept().resize(std::numeric_limits<std::size_t>::max()); }, 1, "not enough memory"},
      {[] { throw std::bad_alloc(); }, 1, "--batch-size"},
      {[] {
         at::zeros({2, 3}).view({5});
       },
       1, "please report it with the command line"},
      {[] {
         at::mm(at::zeros({2, 3}), at::zeros({2, 3}));
       },
       1, "please report it with the command line"},
      {[] { TORCH_CHECK(false, std::string(100'000, 'x')); }, 1, "LibTorch refuses"},
      {[] { TORCH_INTERNAL_ASSERT(false, "x"); }, 1, "please report"},
      {[] { static_cast<void>(Json::parse("[1")); }, 1, "inspect"},
      {[] { static_cast<void>(Json(5).get<std::string>()); }, 1, "inspect"},
      {[] { static_cast<void>(Json(Json::object()).at(std::string(100'000, 'x'))); }, 1, "inspect"},
      {[] { std::filesystem::create_directory("/proc/none/none"); }, 1, "/proc/none/none: "},
      {[] { throw std::system_error(EAGAIN, std::generic_category(), "thread"); }, 1, "the system refuses"},
      {[] { std::vector<int>().at(3) = 1; }, 1, "internal error"},
      {[] { throw 5; }, 1, "internal error"},
      {[] { fail(std::string(100'000, 'x')); }, 1, "xxx"},
      {[] { throw UsageError(std::string(309, '9')); }, 2, "999"},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Failure failure = failure_of(cases[i].action);
    EXPECT_EQ(failure.exit_code, cases[i].exit_code) << i;
    EXPECT_NE(failure.message.find(cases[i].says), std::string::npos) << i << ": " << failure.message;
    EXPECT_LT(failure.message.size(), 400U) << i << ": " << failure.message;
    for (const char* raw : {"std::", "basic_string", "json.exception", ".cpp", "Exception raised", "frame #",
                            "enforce fail", "vector", "ASSERT",
                            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}) {
      EXPECT_EQ(failure.message.find(raw), std::string::npos) << i << ": " << failure.message;
    }
  }
}

}  // namespace
}  // namespace lrqat::cli
