// Every way in which a GGUF file can be wrong has a name, and a message that says what is wrong.
#include <gtest/gtest.h>

#include "lrqat/formats/gguf.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

std::string text(const std::string& value) { return bytes_of<std::uint64_t>(value.size()) + value; }
std::string u32(std::uint32_t value) { return bytes_of(value); }
std::string u64(std::uint64_t value) { return bytes_of(value); }

// The parts of a small file, each to be damaged on its own.
struct Parts {
  std::string magic = "GGUF";
  std::string version = u32(3);
  std::string tensor_count = u64(2);
  std::string pair_count = u64(2);
  std::string pairs = text("general.architecture") + u32(8) + text("llama") + text("n") + u32(4) + u32(7);
  std::string first = tensor("a", {4, 2}, 0, 0);
  std::string second = tensor("b", {32}, 2, 32);
  std::size_t data = 64;

  // Sizes in the file's order, the fastest first.
  static std::string tensor(const std::string& name, const std::vector<std::uint64_t>& sizes,
                            std::uint32_t type, std::uint64_t offset) {
    std::string bytes = text(name) + u32(static_cast<std::uint32_t>(sizes.size()));
    for (const std::uint64_t size : sizes) bytes += u64(size);
    return bytes + u32(type) + u64(offset);
  }

  std::string bytes() const {
    std::string header = magic + version + tensor_count + pair_count + pairs + first + second;
    header.resize((header.size() + 31) / 32 * 32, '\0');
    return header + std::string(data, 'x');
  }
};

struct HostileFile {
  const char* name;
  std::function<void(Parts&)> damage;
  std::vector<std::string> message;
};

void one_pair(Parts& parts, const std::string& pair) {
  parts.pair_count = u64(1);
  parts.pairs = pair;
}

std::vector<HostileFile> hostile_files() {
  using P = Parts;
  return {
      {"bad_magic", [](P& p) { p.magic = "GGML"; }, {"not a GGUF file", "found \"GGML\""}},
      {"version_1", [](P& p) { p.version = u32(1); }, {"version 1", "expected 2 or 3"}},
      {"version_4", [](P& p) { p.version = u32(4); }, {"version 4", "expected 2 or 3"}},
      {"big_endian", [](P& p) { p.version = u32(0x03000000); }, {"big-endian"}},
      {"absurd_tensor_count",
       [](P& p) { p.tensor_count = u64(~0ULL); },
       {"number of tensors is 18446744073709551615"}},
      {"absurd_pair_count",
       [](P& p) { p.pair_count = u64(1ULL << 40); },
       {"number of metadata keys is 1099511627776"}},
      {"too_many_tensors_announced", [](P& p) { p.tensor_count = u64(4); }, {"tensor"}},
      {"key_longer_than_file",
       [](P& p) { one_pair(p, u64(1ULL << 62) + "k"); },
       {"a metadata key", "file ends"}},
      {"string_longer_than_file",
       [](P& p) { one_pair(p, text("k") + u32(8) + u64(9999)); },
       {"\"k\"", "file ends"}},
      {"value_type_unknown",
       [](P& p) { one_pair(p, text("k") + u32(13) + u64(0)); },
       {"\"k\"", "value type 13"}},
      {"array_of_unknown_type",
       [](P& p) { one_pair(p, text("k") + u32(9) + u32(99) + u64(1)); },
       {"\"k\"", "value type 99"}},
      {"array_of_arrays",
       [](P& p) { one_pair(p, text("k") + u32(9) + u32(9) + u64(1) + u32(9) + u64(1)); },
       {"\"k\"", "array of arrays"}},
      {"array_longer_than_file",
       [](P& p) { one_pair(p, text("k") + u32(9) + u32(4) + u64(1ULL << 62)); },
       {"\"k\"", "is 4611686018427387904", "left in the file"}},
      {"array_of_strings_longer_than_file",
       [](P& p) { one_pair(p, text("k") + u32(9) + u32(8) + u64(1000)); },
       {"\"k\"", "left in the file"}},
      {"duplicate_key",
       [](P& p) { p.pairs = text("n") + u32(4) + u32(7) + text("n") + u32(4) + u32(7); },
       {"\"n\"", "stands twice"}},
      {"alignment_zero",
       [](P& p) { one_pair(p, text("general.alignment") + u32(4) + u32(0)); },
       {"general.alignment is 0", "power of two"}},
      {"alignment_odd",
       [](P& p) { one_pair(p, text("general.alignment") + u32(4) + u32(24)); },
       {"general.alignment is 24", "power of two"}},
      {"alignment_a_string",
       [](P& p) { one_pair(p, text("general.alignment") + u32(8) + text("32")); },
       {"general.alignment", "of type string"}},
      {"alignment_beyond_file",
       [](P& p) { one_pair(p, text("general.alignment") + u32(4) + u32(1U << 31)); },
       {"only 0 bytes"}},
      {"duplicate_tensor",
       [](P& p) { p.second = P::tensor("a", {32}, 2, 32); },
       {"tensor \"a\"", "stands twice"}},
      {"no_dimensions", [](P& p) { p.first = P::tensor("a", {}, 0, 0); }, {"tensor \"a\"", "0 dimensions"}},
      {"five_dimensions",
       [](P& p) {
         p.first = P::tensor("a", {1, 1, 1, 1, 1}, 0, 0);
       },
       {"5 dimensions"}},
      {"size_zero",
       [](P& p) {
         p.first = P::tensor("a", {4, 0}, 0, 0);
       },
       {"shape [0, 4]", "cannot exist"}},
      {"size_negative",
       [](P& p) { p.first = P::tensor("a", {~0ULL}, 0, 0); },
       {"shape [-1]", "cannot exist"}},
      {"shape_overflows",
       [](P& p) {
         p.first = P::tensor("a", {1ULL << 32, 1ULL << 32}, 0, 0);
       },
       {"tensor \"a\"", "cannot exist"}},
      {"shape_overflows_in_bytes",
       [](P& p) { p.first = P::tensor("a", {1ULL << 62}, 0, 0); },
       {"tensor \"a\"", "cannot exist"}},
      {"type_unknown",
       [](P& p) { p.first = P::tensor("a", {4}, 4, 0); },
       {"ggml type id 4", "readable are F32"}},
      {"type_huge", [](P& p) { p.first = P::tensor("a", {4}, ~0U, 0); }, {"ggml type id 4294967295"}},
      {"row_not_whole_blocks",
       [](P& p) { p.second = P::tensor("b", {33}, 2, 32); },
       {"tensor \"b\"", "rows of 33", "multiple of 32 for Q4_0"}},
      {"offset_unaligned",
       [](P& p) { p.second = P::tensor("b", {32}, 2, 33); },
       {"offset 33", "multiple of"}},
      {"offset_out_of_range",
       [](P& p) { p.second = P::tensor("b", {32}, 2, 96); },
       {"tensor \"b\"", "only 64 bytes"}},
      {"offset_huge",
       [](P& p) { p.second = P::tensor("b", {32}, 2, ~31ULL); },
       {"tensor \"b\"", "only 64 bytes"}},
      {"data_too_short", [](P& p) { p.data = 49; }, {"tensor \"b\"", "only 49 bytes"}},
      {"tensors_overlap", [](P& p) { p.second = P::tensor("b", {32}, 2, 0); }, {"\"a\"", "\"b\"", "overlap"}},
      {"tensors_overlap_partly",
       [](P& p) { p.first = P::tensor("a", {9}, 0, 0); },
       {"\"a\"", "\"b\"", "overlap"}},
  };
}

class HostileGguf : public testing::TestWithParam<HostileFile> {};

TEST_P(HostileGguf, OneClearError) {
  const TemporaryFolder folder;
  Parts parts;
  GetParam().damage(parts);
  const auto path = folder.write("bad.gguf", parts.bytes());
  std::vector<std::string> expected = GetParam().message;
  expected.push_back(path.string());
  expect_error([&] { GgufFile{path}; }, expected);
}

INSTANTIATE_TEST_SUITE_P(Table, HostileGguf, testing::ValuesIn(hostile_files()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(HostileGgufControl, UnchangedFileIsFine) {
  const TemporaryFolder folder;
  for (const std::uint32_t version : {2U, 3U}) {
    Parts parts;
    parts.version = u32(version);
    const GgufFile file(folder.write("good.gguf", parts.bytes()));
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.get<int>("n"), 7);
    EXPECT_EQ(file.at("a").shape, (std::vector<std::int64_t>{2, 4}));
    EXPECT_EQ(file.at("b").data.size(), 18U);
  }
}

TEST(HostileGgufControl, TruncatedAnywhere) {
  const TemporaryFolder folder;
  const std::string good = Parts().bytes();
  const std::size_t needed = good.size() - 64 + 32 + 18;  // behind the last tensor only padding is left
  for (std::size_t size = 0; size < needed; ++size) {
    const auto path = folder.write("cut.gguf", good.substr(0, size));
    EXPECT_THROW(GgufFile{path}, Error) << "cut to " << size;
  }
  EXPECT_NO_THROW(GgufFile{folder.write("cut.gguf", good.substr(0, needed))});
}

TEST(HostileGgufControl, NamesAreMadePrintable) {
  const TemporaryFolder folder;
  Parts parts;
  parts.second = Parts::tensor(std::string("\x1b[31m\xff\0", 7) + std::string(500, 'n'), {33}, 2, 32);
  const auto path = folder.write("bad.gguf", parts.bytes());
  try {
    GgufFile{path};
    FAIL() << "expected an error";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\x1b'), std::string::npos);
    EXPECT_LT(message.size(), 500U);
  }
}

}  // namespace
}  // namespace lrqat::formats
