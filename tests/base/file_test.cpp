// Files that appear whole or not at all: what killed programs leave is swept, what living ones make is not.
#include "lrqat/base/file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "lrqat/base/error.h"

namespace lrqat {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  FileTest() { fs::create_directories(folder_); }
  ~FileTest() override { fs::remove_all(folder_); }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  // As a program that is killed: no destructor runs.
  static void killed(const std::function<void()>& act) {
    const pid_t child = ::fork();
    if (child == 0) {
      act();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
  }

  void make_folder(const std::string& content, bool replace = true) const {
    AtomicDirectory folder(target_, replace);
    write_text_file(folder.path() / "content", content);
    folder.commit();
  }

  const fs::path folder_ = fs::temp_directory_path() / concat("lrqat-file-test-", ::getpid());
  const fs::path target_ = folder_ / "target";
};

using Names = std::vector<std::string>;

// In a container every program has the same number, of which programs without locks made names.
TEST_F(FileTest, NamesOfTheSameNumberAreNoObstacle) {
  for (int i = 0; i < 64; ++i) {
    for (const char* target : {"target", "file"})
      fs::create_directory(folder_ / concat(target, ".tmp-", ::getpid(), "-", i));
  }
  make_folder("new");
  write_text_file(folder_ / "file", "new");
  EXPECT_EQ(read_text_file(target_ / "content") + read_text_file(folder_ / "file"), "newnew");
}

TEST_F(FileTest, WhatAKilledProgramLeavesIsSwept) {
  killed([&] {
    auto* folder = new AtomicDirectory(target_, true);
    write_text_file(folder->path() / "content", "half");
    auto* file = new AtomicFile(folder_ / "file");
    file->write("half");
  });
  EXPECT_EQ(names().size(), 2U);
  make_folder("whole");
  write_text_file(folder_ / "file", "whole");
  EXPECT_EQ(names(), (Names{"file", "target"}));
  EXPECT_EQ(read_text_file(target_ / "content"), "whole");
}

TEST_F(FileTest, LivingWritersLeaveEachOtherAlone) {
  AtomicDirectory one(target_, true), other(target_, true);
  AtomicFile first(folder_ / "file"), second(folder_ / "file");
  write_text_file(one.path() / "content", "one");
  write_text_file(other.path() / "content", "other");
  first.write("first");
  second.write("second");
  other.commit();
  EXPECT_EQ(read_text_file(target_ / "content"), "other");
  one.commit();
  EXPECT_EQ(read_text_file(target_ / "content"), "one");
  second.commit();
  first.commit();
  EXPECT_EQ(read_text_file(folder_ / "file"), "first");
  EXPECT_EQ(names(), (Names{"file", "target"}));
}

TEST_F(FileTest, FilesOfOtherNamesStay) {
  const Names others{"target.lrqat-tmp-",
                     "target.lrqat-tmp-backup",
                     "target.lrqat-tmp-12",
                     "target.lrqat-tmp-0123456789abcde",
                     "target.tmp-1-2",
                     "target.lrqat-tmp-0123456789abcdefg",
                     "target.old-2024-11",
                     "target2.lrqat-tmp-0123456789abcdef",
                     "target.lrqat-old-mine",
                     "target.tmp-0123456789abcdef",
                     "target.old-2024111213140000"};
  for (const std::string& name : others) write_text_file(folder_ / name, "mine");
  make_folder("new");
  EXPECT_EQ(names().size(), others.size() + 1);
}

TEST_F(FileTest, AFolderIsNotReplacedUnasked) {
  make_folder("old");
  EXPECT_THROW(make_folder("new", false), Error);
  fs::remove_all(target_);
  AtomicDirectory late(target_, false);
  make_folder("old");  // by another program meanwhile
  EXPECT_THROW(late.commit(), Error);
  EXPECT_EQ(read_text_file(target_ / "content"), "old");
}

TEST_F(FileTest, AFileThatDoesNotPassGetsNoName) {
  AtomicFile file(target_);
  file.write("content");
  EXPECT_THROW(file.commit([](const fs::path& path) { fail(read_text_file(path)); }), Error);
  EXPECT_FALSE(fs::exists(target_));
}

TEST_F(FileTest, ErrorsSayWhatTheSystemSays) {
  write_text_file(folder_ / "file", "a file");
  try {
    AtomicDirectory folder(folder_ / "file" / "target", false);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("Not a directory"), std::string::npos) << error.what();
  }
}

TEST_F(FileTest, TwoStepsReplaceAFolderWhereNamesAreNotExchanged) {
  make_folder("old");
  const fs::path made = folder_ / "made";
  fs::create_directory(made);
  write_text_file(made / "content", "new");
  EXPECT_EQ(replace_folder_in_two_steps(made, target_), 0);
  EXPECT_EQ(read_text_file(target_ / "content"), "new");
  EXPECT_EQ(names(), Names{"target"});
  EXPECT_EQ(replace_folder_in_two_steps(folder_ / "nothing", target_), ENOENT);
  EXPECT_EQ(read_text_file(target_ / "content"), "new");
  // Killed between the two.
  fs::rename(target_, folder_ / "target.lrqat-old-0123456789abcdef");
  recover_target(target_);
  EXPECT_EQ(read_text_file(target_ / "content"), "new");
  fs::create_directory(folder_ / "target.lrqat-old-0123456789abcdef");
  recover_target(target_);
  EXPECT_EQ(names(), Names{"target"});
}

}  // namespace
}  // namespace lrqat
