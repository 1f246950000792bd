// Every way in which a safetensors file can be wrong has a name, and a message that says what is wrong.
#include <gtest/gtest.h>

#include "lrqat/formats/safetensors.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

struct HostileFile {
  const char* name;
  std::string bytes;
  std::vector<std::string> message;
};

std::string with_header(const std::string& header, std::size_t data_bytes) {
  return bytes_of<std::uint64_t>(header.size()) + header + std::string(data_bytes, 'x');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}";
}

// One F32 tensor "a" of shape [2] and 8 bytes, with one thing changed.
HostileFile changed(const char* name, const std::string& dtype, const std::string& shape,
                    const std::string& offsets, std::vector<std::string> message) {
  return {name, with_header("{" + entry("a", dtype, shape, offsets) + "}", 8), std::move(message)};
}

// Two tensors of 4 bytes over 8 bytes of data.
HostileFile pair(const char* name, const std::string& first, const std::string& second,
                 std::vector<std::string> message) {
  const std::string header =
      "{" + entry("a", "F32", "[1]", first) + "," + entry("b", "F32", "[1]", second) + "}";
  return {name, with_header(header, 8), std::move(message)};
}

std::vector<HostileFile> hostile_files() {
  const std::string good = entry("a", "F32", "[2]", "[0,8]");
  return {
      {"empty_file", "", {"not a safetensors file", "found 0"}},
      {"seven_bytes", "1234567", {"at least 8 bytes", "found 7"}},
      {"header_over_100_mb", bytes_of<std::uint64_t>(100'000'001) + "{}", {"100000001", "at most 100000000"}},
      {"header_of_2_to_the_64", bytes_of<std::uint64_t>(~0ULL) + "{}", {"not a safetensors file"}},
      {"gguf_magic", "GGUF\3\0\0\0........", {"not a safetensors file"}},
      {"header_longer_than_file", bytes_of<std::uint64_t>(50) + "{}", {"50 bytes announced", "only 2"}},
      {"header_not_json", with_header("{\"a\":", 0), {"not valid JSON"}},
      {"header_empty", with_header("", 0), {"not valid JSON"}},
      {"header_not_utf8", with_header("{\"\xff\xfe\":1}", 0), {"not valid JSON"}},
      {"header_is_a_list", with_header("[]", 0), {"must be a JSON object", "array"}},
      {"header_trailing_garbage", with_header("{} x", 0), {"not valid JSON"}},
      {"header_deeply_nested",
       with_header("{\"a\":" + std::string(1000, '[') + std::string(1000, ']') + "}", 0),
       {"nested deeper"}},
      {"duplicate_name", with_header("{" + good + "," + good + "}", 8), {"tensor \"a\"", "stands twice"}},
      {"metadata_not_strings",
       with_header(R"({"__metadata__":{"k":1}})", 0),
       {"__metadata__", "\"k\"", "string"}},
      {"metadata_not_an_object", with_header(R"({"__metadata__":"k"})", 0), {"__metadata__", "object"}},
      {"entry_not_an_object",
       with_header(R"({"a":3})", 0),
       {"tensor \"a\"", "dtype, shape and data_offsets"}},
      {"dtype_missing",
       with_header(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8),
       {"\"dtype\" is missing"}},
      {"shape_missing",
       with_header(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8),
       {"\"shape\" is missing"}},
      {"offsets_missing",
       with_header(R"({"a":{"dtype":"F32","shape":[2]}})", 8),
       {"\"data_offsets\" is missing"}},
      {"dtype_not_a_string",
       with_header(R"({"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})", 8),
       {"dtype must be a string"}},
      changed("dtype_unknown", "Q7", "[2]", "[0,8]",
              {"tensor \"a\"", "unknown dtype \"Q7\"", "known are F64, F32"}),
      changed("dtype_too_wide", "F64", "[2]", "[0,8]", {"[2] of F64 needs 16 bytes", "hold 8"}),
      changed("shape_too_large", "F32", "[3]", "[0,8]", {"needs 12 bytes", "hold 8"}),
      changed("shape_negative", "F32", "[-2]", "[0,8]", {"shape has size -2"}),
      changed("shape_fraction", "F32", "[2.5]", "[0,8]", {"shape has size 2.5"}),
      changed("shape_not_a_list", "F32", "2", "[0,8]", {"shape must be a list"}),
      changed("shape_overflows", "F32", "[4294967296,4294967296]", "[0,8]", {"too large to exist"}),
      changed("shape_overflows_in_bytes", "F32", "[2305843009213693952]", "[0,8]", {"too large to exist"}),
      changed("shape_beyond_int64", "F32", "[18446744073709551615]", "[0,8]",
              {"shape has size 18446744073709551615"}),
      changed("offsets_backwards", "F32", "[2]", "[8,0]", {"[8, 0]", "outside"}),
      changed("offsets_out_of_range", "F32", "[2]", "[4,12]", {"[4, 12]", "outside the 8 bytes"}),
      changed("offsets_negative", "F32", "[2]", "[-8,0]", {"must be [begin, end]"}),
      changed("offsets_three", "F32", "[2]", "[0,4,8]", {"must be [begin, end]"}),
      changed("offsets_huge", "F32", "[2]", "[0,18446744073709551615]", {"outside"}),
      pair("overlap", "[0,4]", "[2,6]", {"tensor \"b\"", "offset 2, expected 4", "overlaps"}),
      pair("same_place", "[0,4]", "[0,4]", {"tensor \"b\"", "overlaps"}),
      pair("gap", "[0,4]", "[5,8]", {"needs 4 bytes"}),
      {"hole_between",
       with_header("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[8,12]") + "}",
                   12),
       {"tensor \"b\"", "offset 8, expected 4", "gap"}},
      {"hole_at_start",
       with_header("{" + entry("a", "F32", "[1]", "[4,8]") + "}", 8),
       {"offset 4, expected 0"}},
      {"extra_bytes", with_header("{" + good + "}", 9), {"cover 8 bytes", "9 bytes of data"}},
      {"truncated_data", with_header("{" + good + "}", 7), {"tensor \"a\"", "outside the 7 bytes"}},
      {"data_without_tensors", with_header("{}", 4), {"cover 0 bytes", "4 bytes of data"}},
  };
}

class HostileSafetensors : public testing::TestWithParam<HostileFile> {};

TEST_P(HostileSafetensors, OneClearError) {
  const TemporaryFolder folder;
  const auto path = folder.write("bad.safetensors", GetParam().bytes);
  std::vector<std::string> parts = GetParam().message;
  parts.push_back(path.string());
  expect_error([&] { SafetensorsFile{path}; }, parts);
}

INSTANTIATE_TEST_SUITE_P(Table, HostileSafetensors, testing::ValuesIn(hostile_files()),
                         [](const auto& info) { return std::string(info.param.name); });

// The control: the file that the table's rows are variations of is fine, and so are empty ones.
TEST(HostileSafetensorsControl, UnchangedFilesAreFine) {
  const TemporaryFolder folder;
  const std::string good = with_header("{" + entry("a", "F32", "[2]", "[0,8]") + "}", 8);
  EXPECT_EQ(SafetensorsFile(folder.write("good.safetensors", good)).tensors().size(), 1U);
  EXPECT_EQ(SafetensorsFile(folder.write("padded.safetensors", with_header("{}   ", 0))).tensors().size(),
            0U);
  expect_error([&] { SafetensorsFile{folder.path() / "absent.safetensors"}; },
               {"absent.safetensors", "cannot open"});
  expect_error([&] { SafetensorsFile{folder.path()}; }, {"cannot"});
}

TEST(HostileSafetensorsControl, TruncatedAnywhere) {
  const TemporaryFolder folder;
  const std::string good = with_header("{" + entry("a", "F32", "[2]", "[0,8]") + "}", 8);
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto path = folder.write("cut.safetensors", good.substr(0, size));
    EXPECT_THROW(SafetensorsFile{path}, Error) << "cut to " << size;
  }
}

}  // namespace
}  // namespace lrqat::formats
