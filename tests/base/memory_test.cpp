// What is left of the machine's memory, and of a control group's, from files as the kernel writes them.
#include "lrqat/base/memory.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace lrqat {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

class AvailableMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) /
            ("memory_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(root_);
    write("proc/meminfo", "MemTotal:       16384000 kB\nMemFree:  100 kB\nMemAvailable:    8192000 kB\n");
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  // A group of version 2 that uses `usage`, of which `cache` are pages of files.
  void write_group(const std::string& group, const std::string& limit, std::int64_t usage,
                   std::int64_t cache) {
    const std::string folder = "sys/fs/cgroup" + group + "/";
    write(folder + "memory.max", limit + "\n");
    write(folder + "memory.high", "max\n");
    write(folder + "memory.current", std::to_string(usage) + "\n");
    write(folder + "memory.stat", "anon 1\nfile " + std::to_string(cache) + "\nkernel 7\ninactive_file " +
                                      std::to_string(cache - kMiB) + "\nactive_file " + std::to_string(kMiB) +
                                      "\nunevictable 0\n");
  }
  std::int64_t found() const { return available_memory_bytes(root_) / kMiB; }

  fs::path root_;
};

TEST_F(AvailableMemory, OfTheMachineWhereNothingLimitsIt) {
  EXPECT_EQ(found(), 8000);
  write("proc/self/cgroup", "0::/user.slice\n");
  write_group("/user.slice", "max", 100 * kMiB, 50 * kMiB);
  EXPECT_EQ(found(), 8000);
  write_group("/user.slice", std::to_string(20000 * kMiB), 100 * kMiB, 50 * kMiB);
  EXPECT_EQ(found(), 8000) << "a limit above what the machine has";
}

TEST_F(AvailableMemory, OfVersion2LessWhatIsUsedButForFiles) {
  write("proc/self/cgroup", "0::/user.slice/job\n");
  write_group("/user.slice/job", std::to_string(1000 * kMiB), 400 * kMiB, 300 * kMiB);
  EXPECT_EQ(found(), 900);
  write("sys/fs/cgroup/user.slice/job/memory.high", std::to_string(600 * kMiB) + "\n");
  EXPECT_EQ(found(), 500) << "above memory.high the kernel slows the group down";
}

TEST_F(AvailableMemory, OfTheNarrowestGroupAbove) {
  write("proc/self/cgroup", "0::/user.slice/job\n");
  write_group("/user.slice", std::to_string(500 * kMiB), 450 * kMiB, 50 * kMiB);
  write_group("/user.slice/job", std::to_string(1000 * kMiB), 100 * kMiB, 50 * kMiB);
  EXPECT_EQ(found(), 100);
}

TEST_F(AvailableMemory, OfAContainerThatSeesTheHostsPath) {
  write("proc/self/cgroup", "0::/docker/0123abc\n");
  write_group("", std::to_string(700 * kMiB), 200 * kMiB, 100 * kMiB);
  EXPECT_EQ(found(), 600);
}

TEST_F(AvailableMemory, OfVersion1) {
  write("proc/self/cgroup", "9:name=systemd:/\n5:cpu,memory:/jobs/7\n0::/\n");
  const std::string folder = "sys/fs/cgroup/memory/jobs/7/";
  write(folder + "memory.limit_in_bytes", std::to_string(2000 * kMiB) + "\n");
  write(folder + "memory.usage_in_bytes", std::to_string(900 * kMiB) + "\n");
  write(folder + "memory.stat", "cache 5\ninactive_file 1\ntotal_inactive_file " +
                                    std::to_string(300 * kMiB) + "\ntotal_active_file " +
                                    std::to_string(100 * kMiB) + "\n");
  EXPECT_EQ(found(), 1500);
  write(folder + "memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(found(), 8000) << "no limit";
}

TEST_F(AvailableMemory, IsNothingWhereTheGroupIsFull) {
  write("proc/self/cgroup", "0::/\n");
  write_group("", std::to_string(100 * kMiB), 300 * kMiB, 2 * kMiB);
  EXPECT_EQ(found(), 0);
}

TEST_F(AvailableMemory, FilesThatMakeNoSenseLimitNothing) {
  write("proc/self/cgroup", "nonsense\n0:\n\n0::/\n");
  write("sys/fs/cgroup/memory.max", "99999999999999999999999\n");
  write("sys/fs/cgroup/memory.current", "");
  EXPECT_EQ(found(), 8000);
}

TEST(Memory, OfThisProcess) {
  EXPECT_GT(current_resident_bytes(), 0);
  EXPECT_GE(peak_resident_bytes(), current_resident_bytes() / 2);
  EXPECT_GT(available_memory_bytes(), 0);
}

}  // namespace
}  // namespace lrqat
