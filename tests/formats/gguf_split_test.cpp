// Split GGUF files, laid out as llama-gguf-split lays them out (tests/outsiders/gguf_test.py reads real
// ones).
#include <gtest/gtest.h>

#include "lrqat/formats/gguf.h"
#include "lrqat/formats/weight_source.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

// tiny_llama.gguf in parts, each with these many tensors.
class SplitGguf : public testing::Test {
 protected:
  std::string name(std::size_t part, std::size_t count) const {
    return concat("m-0000", part + 1, "-of-0000", count, ".gguf");
  }
  void write_part(const std::string& file, std::size_t number, std::size_t count, std::size_t begin,
                  std::size_t end, std::int32_t total) {
    GgufWriter writer(folder_.path() / file);
    for (const auto& [key, value] : whole_.metadata()) {
      if (number == 0) writer.set(key, value);
    }
    writer.set("split.no", static_cast<std::uint16_t>(number));
    writer.set("split.count", static_cast<std::uint16_t>(count));
    writer.set("split.tensors.count", total);
    for (std::size_t i = begin; i < end; ++i) {
      const GgufTensor& tensor = whole_.tensors()[i];
      writer.declare(tensor.name, tensor.type, tensor.shape);
    }
    for (std::size_t i = begin; i < end; ++i)
      writer.write(whole_.tensors()[i].name, whole_.tensors()[i].data);
    writer.finish();
  }
  void split(const std::vector<std::size_t>& sizes) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i, at += sizes[i - 1])
      write_part(name(i, sizes.size()), i, sizes.size(), at, at + sizes[i], 21);
  }
  void expect_whole(const fs::path& path) {
    const auto found = open_weight_source(path);
    const auto expected = open_weight_source(fixture("tiny_llama.gguf"));
    EXPECT_EQ(found->config(), expected->config());
    EXPECT_EQ(found->names(), expected->names());
    for (const std::string& tensor : expected->names()) {
      EXPECT_EQ(found->read(tensor), expected->read(tensor)) << tensor;
      found->release(tensor);
      EXPECT_EQ(found->read(tensor), expected->read(tensor)) << tensor;
    }
  }
  void expect_failure(const std::string& file, const std::vector<std::string>& parts) {
    expect_error([&] { open_weight_source(folder_.path() / file); }, parts);
  }

  TemporaryFolder folder_;
  GgufFile whole_{fixture("tiny_llama.gguf")};
};

TEST_F(SplitGguf, AnyPartAndTheFolderOpenTheWhole) {
  split({7, 7, 7});
  for (std::size_t i = 0; i < 3; ++i) expect_whole(folder_.path() / name(i, 3));
  expect_whole(folder_.path());
  EXPECT_EQ(GgufFile(folder_.path() / name(2, 3)).path().filename(), name(0, 3));
}

TEST_F(SplitGguf, TheFirstPartMayHaveNoTensors) {
  split({0, 21});
  expect_whole(folder_.path());
  expect_whole(folder_.path() / name(1, 2));
}

TEST_F(SplitGguf, MissingPartsAreNamed) {
  split({7, 7, 7});
  fs::remove(folder_.path() / name(1, 3));
  expect_failure(name(2, 3),
                 {name(2, 3), "part 3 of 3", name(1, 3), "is not in the folder", "fetch all parts"});
  expect_failure("", {name(1, 3), "fetch all parts"});
  fs::remove(folder_.path() / name(0, 3));
  expect_failure("", {name(0, 3), "is not in the folder"});
}

TEST_F(SplitGguf, MixedPartsAreNamed) {
  split({7, 7, 7});
  write_part(name(1, 3), 1, 4, 7, 14, 21);
  expect_failure(name(0, 3), {name(1, 3), "part 2 of 4", "of different models"});
  write_part(name(1, 3), 1, 3, 7, 14, 20);
  expect_failure(name(0, 3), {name(1, 3), "20 tensors", "of different models"});
  write_part(name(1, 3), 1, 3, 7, 13, 21);
  expect_failure(name(0, 3), {"hold 20 tensors, expected 21"});
  write_part(name(1, 3), 1, 3, 6, 13, 21);
  expect_failure(name(0, 3), {name(1, 3), "stands twice"});
  fs::remove(folder_.path() / name(1, 3));
  fs::copy_file(fixture("tiny_llama.gguf"), folder_.path() / name(1, 3));
  expect_failure(name(0, 3), {name(1, 3), "split.no", "is missing"});
}

TEST_F(SplitGguf, RenamedPartsAreNamed) {
  split({10, 11});
  fs::rename(folder_.path() / name(1, 2), folder_.path() / "b.gguf");
  expect_failure("b.gguf",
                 {"b.gguf", "part 2 of 2", "-00002-of-00002.gguf", "names that they were written with"});
}

TEST_F(SplitGguf, NumbersThatCannotBe) {
  write_part(name(0, 2), 5, 2, 0, 21, 21);
  expect_failure(name(0, 2), {"part 5 of 2", "cannot be"});
  write_part(name(0, 2), 0, 0, 0, 21, 21);
  expect_failure(name(0, 2), {"part 0 of 0", "cannot be"});
}

TEST_F(SplitGguf, AFolderWithTwoSplitsOrEyesOfItsOwn) {
  split({10, 11});
  fs::copy_file(fixture("tiny_llama.gguf"), folder_.path() / "mmproj-model-f16.gguf");
  expect_whole(folder_.path());
  fs::copy_file(fixture("tiny_llama.gguf"), folder_.path() / "other.gguf");
  expect_failure("", {"several GGUF files"});
}

}  // namespace
}  // namespace lrqat::formats
