// Writes the files that tests/outsiders/formats_test.py gives to other people's readers, when the folder is
// named by LRQAT_WRITE_OUTSIDER_FILES; otherwise into a temporary folder. Either way they are read back here.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "lrqat/base/half.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/gguf.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/formats/weight_source.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kRows = 4;
constexpr std::int64_t kCols = 128;
constexpr std::size_t kCount = kRows * kCols;

// The integers and scales that formats_test.py expects.
std::vector<std::int8_t> codes(int low, int high) {
  std::vector<std::int8_t> values(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    values[i] =
        static_cast<std::int8_t>(low + static_cast<int>(i * 37 % static_cast<std::size_t>(high - low + 1)));
  }
  return values;
}

std::vector<std::uint16_t> scales() {  // groups of 64
  std::vector<std::uint16_t> words;
  for (int i = 1; i <= 8; ++i) words.push_back(float_to_float16(static_cast<float>(i) / 64.0F));
  return words;
}

class OutsiderFiles : public testing::Test {
 protected:
  fs::path folder() const {
    const char* named = std::getenv("LRQAT_WRITE_OUTSIDER_FILES");
    return named != nullptr ? fs::path(named) : temporary_.path();
  }
  TemporaryFolder temporary_;
};

TEST_F(OutsiderFiles, Gguf) {
  const fs::path path = folder() / "written.gguf";
  GgufWriter writer(path);
  writer.set("general.architecture", std::string("llama"));
  writer.set("u32", std::uint32_t{4294967295U});
  writer.set("i64", std::int64_t{INT64_MIN});
  writer.set("f32", 0.1F);
  writer.set("flag", true);
  writer.set("strings", GgufArray(std::vector<std::string>{"a", "", "ümlaut"}));
  writer.set("floats", GgufArray(std::vector<float>{1.5F, -2.5F}));
  writer.declare("q4_0", GgmlType::Q4_0, {kRows, kCols});
  writer.declare("norm", GgmlType::F32, {5});
  writer.declare("q8_0", GgmlType::Q8_0, {kRows, kCols});
  writer.declare("plain_f32", GgmlType::F32, {kRows, kCols});
  writer.declare("plain_q8_0", GgmlType::Q8_0, {kRows, kCols});
  std::vector<std::byte> q4(ggml_row_bytes(GgmlType::Q4_0, kCount));
  encode_q4_0(codes(-8, 7), scales(), q4.data());
  writer.write("q4_0", q4);
  const std::vector<float> norm(5, 1.0F);
  writer.write("norm", as_bytes(norm));
  std::vector<std::byte> q8(ggml_row_bytes(GgmlType::Q8_0, kCount));
  encode_q8_0(codes(-128, 127), scales(), q8.data());
  writer.write("q8_0", q8);
  std::vector<float> plain(kCount);
  for (std::size_t i = 0; i < kCount; ++i) plain[i] = static_cast<float>(std::sin(static_cast<double>(i)));
  writer.write("plain_f32", as_bytes(plain));
  quantize_row_q8_0(plain, q8.data());
  writer.write("plain_q8_0", q8);
  writer.finish();

  const GgufFile file(path);
  std::vector<std::int8_t> back(kCount);
  std::vector<std::uint16_t> block_scales(kCount / 32);
  decode_q4_0(file.at("q4_0").data.data(), back, block_scales);
  EXPECT_EQ(back, codes(-8, 7));
  EXPECT_EQ(block_scales[3], scales()[1]);
}

TEST_F(OutsiderFiles, Safetensors) {
  const fs::path path = folder() / "written.safetensors";
  SafetensorsWriter writer(
      path,
      {{"codes", DType::I8, {kRows, kCols}}, {"values", DType::F32, {2, 3}}, {"empty", DType::F16, {0, 3}}},
      {{"format", "pt"}, {"note", "with \"quotes\""}});
  const auto stored = codes(-8, 7);
  writer.write_values<std::int8_t>("codes", stored);
  const std::vector<float> values{0, 1, 2, 3, 4, 5};
  writer.write_values<float>("values", values);
  writer.finish();
  EXPECT_EQ(SafetensorsFile(path).tensors().size(), 3U);
}

TEST_F(OutsiderFiles, ShardedModel) {
  const fs::path target = folder() / "sharded";
  const auto source = open_weight_source(fixture("tiny_llama"));
  std::vector<TensorDeclaration> declared;
  for (const std::string& name : source->names()) declared.push_back({name, DType::F32, source->shape(name)});
  ShardedSafetensorsWriter writer(target, declared, {{"format", "pt"}}, 100'000);
  for (const std::string& name : source->names()) {
    const auto values = source->read(name);
    writer.write(name, as_bytes(values));
  }
  writer.finish();
  write_text_file(target / "config.json", config_to_json(source->config()).dump(2));
  EXPECT_GT(writer.file_names().size(), 1U);
  const auto copy = open_weight_source(target);
  EXPECT_EQ(copy->config(), source->config());
  for (const std::string& name : source->names()) EXPECT_EQ(copy->read(name), source->read(name)) << name;
}

}  // namespace
}  // namespace lrqat::formats
