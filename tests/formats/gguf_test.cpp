#include "lrqat/formats/gguf.h"

#include <gtest/gtest.h>

#include "lrqat/formats/ggml_blocks.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

TEST(Gguf, ReadsWhatTheGgufPackageWrote) {
  const GgufFile file(fixture("tiny_llama.gguf"));
  EXPECT_EQ(file.version(), 3U);
  EXPECT_EQ(file.alignment(), 32U);
  EXPECT_EQ(file.get<std::string>("general.architecture"), "llama");
  EXPECT_EQ(file.get<int>("llama.block_count"), 2);
  EXPECT_EQ(file.get<std::uint64_t>("llama.block_count"), 2U);
  EXPECT_FLOAT_EQ(file.get<float>("llama.rope.freq_base"), 50000.0F);
  EXPECT_EQ(file.get<std::vector<std::string>>("test.strings"),
            (std::vector<std::string>{"a", "", "ümlaut"}));
  EXPECT_EQ(file.get<std::vector<std::int64_t>>("test.integers"), (std::vector<std::int64_t>{-1, 0, 7}));
  EXPECT_EQ(file.tensors().size(), 21U);
  const GgufTensor& down = file.at("blk.1.ffn_down.weight");
  EXPECT_EQ(down.type, GgmlType::F32);
  EXPECT_EQ(down.shape, (std::vector<std::int64_t>{64, 96}));  // rows first
  EXPECT_EQ(down.rows(), 64);
  EXPECT_EQ(down.cols(), 96);
}

TEST(Gguf, GettersNameKeyAndFile) {
  const GgufFile file(fixture("tiny_llama.gguf"));
  expect_error([&] { file.get<int>("absent.key"); }, {"tiny_llama.gguf", "\"absent.key\" is missing"});
  expect_error([&] { file.get<std::string>("llama.block_count"); }, {"llama.block_count", "of type uint32"});
  expect_error([&] { file.get<std::vector<float>>("test.strings"); }, {"test.strings", "array of string"});
  expect_error([&] { file.get<int>("general.architecture"); }, {"of type string"});
  EXPECT_EQ(file.get_or<int>("absent.key", 7), 7);
  EXPECT_EQ(file.get_or<int>("llama.block_count", 7), 2);
  expect_error([&] { file.at("blk.0.attn_qq.weight"); }, {"near names", "blk.0.attn_q.weight"});
}

// Every value type, through the writer and back.
std::vector<std::pair<std::string, GgufValue>> every_type() {
  return {
      {"u8", std::uint8_t{255}},
      {"i8", std::int8_t{-128}},
      {"u16", std::uint16_t{65535}},
      {"i16", std::int16_t{-32768}},
      {"u32", std::uint32_t{4294967295U}},
      {"i32", std::int32_t{INT32_MIN}},
      {"f32", 0.1F},
      {"bool", true},
      {"string", std::string("zero\0inside", 11)},
      {"u64", std::uint64_t{~0ULL}},
      {"i64", std::int64_t{INT64_MIN}},
      {"f64", 0.1},
      {"a.u8", GgufArray(std::vector<std::uint8_t>{1, 2})},
      {"a.i32", GgufArray(std::vector<std::int32_t>{-1})},
      {"a.f32", GgufArray(std::vector<float>{1.5F, -2.5F})},
      {"a.bool", GgufArray(std::vector<bool>{true, false, true})},
      {"a.string", GgufArray(std::vector<std::string>{"", "x"})},
      {"a.f64", GgufArray(std::vector<double>{})},
  };
}

TEST(Gguf, MetadataRoundTrip) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "m.gguf";
  GgufWriter writer(path);
  for (const auto& [key, value] : every_type()) writer.set(key, value);
  writer.finish();
  const GgufFile file(path);
  EXPECT_EQ(file.metadata(), every_type());
  EXPECT_EQ(file.get<std::uint64_t>("u64"), ~0ULL);
  EXPECT_FALSE(file.has("u"));
  expect_error([&] { file.get<std::int64_t>("u64"); }, {"u64", "out of range"});
  expect_error([&] { file.get<std::int8_t>("u8"); }, {"u8", "out of range"});
  EXPECT_EQ(file.get<double>("f32"), static_cast<double>(0.1F));
  EXPECT_TRUE(file.get<bool>("bool"));
  EXPECT_EQ(file.get<std::vector<bool>>("a.bool"), (std::vector<bool>{true, false, true}));
}

void write_tensors(const fs::path& path, std::uint64_t alignment, const std::vector<float>& values) {
  GgufWriter writer(path, alignment);
  writer.set("general.architecture", std::string("llama"));
  writer.declare("a", GgmlType::F32, {3});
  writer.declare("b", GgmlType::Q8_0, {2, 32});
  writer.declare("c", GgmlType::F32, {2, 3});
  std::vector<std::byte> blocks(2 * sizeof(BlockQ8_0));
  quantize_row_q8_0(std::vector<float>(64, 1.0F), blocks.data());
  writer.write("a", as_bytes(values).first(12));
  writer.write("b", std::span(blocks).first(1));
  writer.write("b", std::span(blocks).subspan(1));
  writer.write("c", as_bytes(values).first(24));
  EXPECT_FALSE(fs::exists(path));
  writer.finish();
}

TEST(Gguf, TensorsRoundTripAtAnyAlignment) {
  const TemporaryFolder folder;
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  for (const std::uint64_t alignment : {8U, 32U, 64U, 4096U}) {
    const fs::path path = folder.path() / concat("t", alignment, ".gguf");
    write_tensors(path, alignment, values);
    const GgufFile file(path);
    EXPECT_EQ(file.alignment(), alignment);
    ASSERT_EQ(file.tensors().size(), 3U);
    EXPECT_EQ(file.tensors()[1].shape, (std::vector<std::int64_t>{2, 32}));
    EXPECT_EQ(std::memcmp(file.at("c").data.data(), values.data(), 24), 0);
    const auto offset = file.at("c").data.data() - file.file()->bytes().data();
    EXPECT_EQ(static_cast<std::uint64_t>(offset) % alignment, 0U);
    std::vector<float> ones(64);
    dequantize_row(GgmlType::Q8_0, file.at("b").data.data(), ones.data(), 64);
    EXPECT_NEAR(ones[63], 1.0F, 1e-3);  // 127 · float16(1/127): 2^-11 relative at most
    EXPECT_EQ(file.file()->bytes().size() % alignment, 0U);
  }
}

TEST(Gguf, AbandonedWriterLeavesNothing) {
  const TemporaryFolder folder;
  {
    GgufWriter writer(folder.path() / "x.gguf");
    writer.declare("a", GgmlType::F32, {3});
    const std::vector<float> values(2);
    writer.write("a", as_bytes(values));
    EXPECT_THROW(writer.finish(), InternalError);
  }
  EXPECT_EQ(folder.count(), 0U);
}

TEST(Gguf, WriterRefusesWhatReadersCannotTake) {
  const TemporaryFolder folder;
  GgufWriter writer(folder.path() / "x.gguf");
  writer.set("k", 1.0F);
  expect_error([&] { writer.set("k", 2.0F); }, {"\"k\"", "twice"});
  writer.declare("a", GgmlType::F32, {3});
  expect_error([&] { writer.declare("a", GgmlType::F32, {3}); }, {"\"a\"", "twice"});
  expect_error([&] { writer.declare("q", GgmlType::Q4_0, {4, 48}); }, {"rows of 48", "multiple of 32"});
  expect_error([&] { writer.declare(std::string(64, 'n'), GgmlType::F32, {3}); }, {"64 bytes", "allow 63"});
  EXPECT_THROW(writer.declare("empty", GgmlType::F32, {0}), InternalError);
  EXPECT_THROW(writer.declare("five", GgmlType::F32, {1, 1, 1, 1, 1}), InternalError);
  EXPECT_THROW(GgufWriter(folder.path() / "y.gguf", 24), InternalError);
}

}  // namespace
}  // namespace lrqat::formats
