// Maps of files that become shorter: the registry that names them, and writing from such a map.
#include <gtest/gtest.h>
#include <unistd.h>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"

namespace lrqat {
namespace {

namespace fs = std::filesystem;

class MappedFileTest : public ::testing::Test {
 protected:
  MappedFileTest() {
    fs::create_directories(folder_);
    write_text_file(file_, std::string(kBytes, 'x'));
  }
  ~MappedFileTest() override { fs::remove_all(folder_); }

  static constexpr std::size_t kBytes = 1 << 20;
  const fs::path folder_ = fs::temp_directory_path() / concat("lrqat-mapped-test-", ::getpid());
  const fs::path file_ = folder_ / "model";
};

TEST_F(MappedFileTest, AddressesHaveTheNameOfTheirFile) {
  const std::byte* gone = nullptr;
  {
    const MappedFile file(file_);
    gone = file.bytes().data();
    EXPECT_STREQ(mapped_file_at(gone), file_.c_str());
    EXPECT_STREQ(mapped_file_at(gone + kBytes - 1), file_.c_str());
    const MappedFile again(file_);
    EXPECT_STREQ(mapped_file_at(again.bytes().data()), file_.c_str());
    EXPECT_EQ(mapped_file_at(&gone), nullptr);
  }
  EXPECT_EQ(mapped_file_at(gone), nullptr);
}

TEST_F(MappedFileTest, WritingFromACutFileNamesIt) {
  const MappedFile file(file_);
  fs::resize_file(file_, kBytes / 2);
  AtomicFile copy(folder_ / "copy");
  try {
    copy.write(file.bytes());
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with(file_.string())) << error.what();
    EXPECT_NE(std::string(error.what()).find("shorter"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lrqat
