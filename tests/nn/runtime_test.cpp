// One OpenMP runtime in the process, and loops that really run on several threads: torch brings its own
// libgomp, and at::parallel_for, a header template, is serial without a word where -fopenmp is missing.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>

namespace lrqat {
namespace {

// Paths of mapped files whose name begins with `name`.
std::set<std::string> mapped_libraries(std::istream& maps, const std::string& name) {
  std::set<std::string> found;
  std::string line;
  while (std::getline(maps, line)) {
    const auto path = line.find('/');
    if (path == std::string::npos) continue;
    const std::string file = line.substr(path);
    if (file.substr(file.rfind('/') + 1).starts_with(name)) found.insert(file);
  }
  return found;
}

TEST(OpenMp, OneRuntimeInTheProcess) {
  std::ifstream maps("/proc/self/maps");
  if (!maps) GTEST_SKIP() << "no /proc/self/maps on this system";
  std::set<std::string> runtimes;
  for (const char* name : {"libgomp", "libomp", "libiomp"}) {
    maps.clear();
    maps.seekg(0);
    const auto found = mapped_libraries(maps, name);
    runtimes.insert(found.begin(), found.end());
  }
  EXPECT_EQ(runtimes.size(), 1U) << ::testing::PrintToString(runtimes);
}

TEST(OpenMp, TheCountSeesASecondRuntime) {
  std::istringstream maps(
      "7f00-7f01 r-xp 0 08:01 11 /venv/torch/lib/libgomp.so.1\n"
      "7f01-7f02 r--p 0 08:01 11 /venv/torch/lib/libgomp.so.1\n"
      "7f02-7f03 r-xp 0 08:01 12 /usr/lib/libgomp.so.1\n"
      "7f03-7f04 rw-p 0 00:00 0\n"
      "7f04-7f05 r-xp 0 08:01 13 /usr/lib/libc.so.6\n");
  EXPECT_EQ(mapped_libraries(maps, "libgomp").size(), 2U);
}

// Threads that wait for each other: with one thread the loop would never see a second one.
std::set<std::thread::id> threads_of_a_loop(int threads) {
  std::set<std::thread::id> seen;
  std::mutex lock;
  std::atomic<int> arrived = 0;
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    {
      const std::lock_guard guard(lock);
      seen.insert(std::this_thread::get_id());
    }
    ++arrived;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (arrived < threads && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  });
  return seen;
}

TEST(OpenMp, ParallelForUsesSeveralThreads) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);  // two threads exist on one core as well
  EXPECT_EQ(threads_of_a_loop(2).size(), 2U);
  at::set_num_threads(1);
  EXPECT_EQ(threads_of_a_loop(1).size(), 1U) << "negative control";
  at::set_num_threads(before);
}

}  // namespace
}  // namespace lrqat
