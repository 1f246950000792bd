#include "lrqat/formats/safetensors.h"

#include <gtest/gtest.h>

#include "lrqat/base/json.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

template <typename T>
std::vector<T> values_of(const TensorView& tensor) {
  std::vector<T> values(tensor.data.size() / sizeof(T));
  if (!values.empty())
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());  // may be unaligned
  return values;
}

TEST(Safetensors, ReadsWhatTheReferenceWriterWrote) {
  const SafetensorsFile file(fixture("ggml_blocks.safetensors"));
  EXPECT_EQ(file.tensors().size(), 26U);
  EXPECT_EQ(file.metadata().at("origin"), "gguf package, random blocks");
  const TensorView& blocks = file.at("Q4_0.blocks");
  EXPECT_EQ(blocks.dtype, DType::U8);
  EXPECT_EQ(blocks.shape, (std::vector<std::int64_t>{16, 18}));
  EXPECT_EQ(file.at("Q4_0.values").elements(), 512);
  EXPECT_EQ(file.find("Q9_9.values"), nullptr);
}

TEST(Safetensors, RoundTripInPieces) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a.safetensors";
  const std::vector<std::int8_t> codes{1, -2, 3};
  const std::vector<float> values{0.5F, -1.0F, 2.0F, 1e-30F};
  {
    SafetensorsWriter writer(path,
                             {{"codes", DType::I8, {3}},
                              {"nothing", DType::F16, {0, 7}},
                              {"values", DType::F32, {2, 2}},
                              {"scalar", DType::F32, {}}},
                             {{"k", "v \"quoted\""}});
    writer.write_values<std::int8_t>("codes", codes);
    const auto bytes = as_bytes(values);
    writer.write("values", bytes.first(5));
    writer.write("values", bytes.subspan(5));
    writer.write("scalar", bytes.first(4));
    EXPECT_FALSE(fs::exists(path));  // nothing under the final name before finish
    writer.finish();
  }
  const SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(values_of<std::int8_t>(file.at("codes")), codes);
  EXPECT_EQ(values_of<float>(file.at("values")), values);  // begins 3 bytes after an aligned address
  EXPECT_NE(reinterpret_cast<std::uintptr_t>(file.at("values").data.data()) % 4, 0U);
  EXPECT_EQ(file.at("nothing").shape, (std::vector<std::int64_t>{0, 7}));
  EXPECT_EQ(file.at("scalar").elements(), 1);
  EXPECT_EQ(file.metadata().at("k"), "v \"quoted\"");
  std::uint64_t header = 0;
  std::memcpy(&header, file.file()->bytes().data(), sizeof header);
  EXPECT_EQ(header % 8, 0U);
  EXPECT_EQ(folder.count(), 1U);
}

TEST(Safetensors, AbandonedWriterLeavesNothing) {
  const TemporaryFolder folder;
  folder.write("kept.safetensors", "old content");
  {
    SafetensorsWriter writer(folder.path() / "kept.safetensors", {{"x", DType::U8, {4}}});
    const std::vector<std::uint8_t> half{1, 2};
    writer.write("x", as_bytes(half));
  }
  EXPECT_EQ(read_bytes(folder.path() / "kept.safetensors"), "old content");
  EXPECT_EQ(folder.count(), 1U);
}

TEST(Safetensors, WriterChecksItsCaller) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "x.safetensors";
  const std::vector<std::uint8_t> five(5);
  SafetensorsWriter writer(path, {{"a", DType::U8, {4}}, {"b", DType::U8, {4}}});
  EXPECT_THROW(writer.write("b", as_bytes(five).first(4)), InternalError);  // out of order
  EXPECT_THROW(writer.write("a", as_bytes(five)), InternalError);           // too much
  EXPECT_THROW(writer.finish(), InternalError);                             // incomplete
  EXPECT_THROW(SafetensorsWriter(path, {{"a", DType::U8, {1}}, {"a", DType::U8, {1}}}), InternalError);
  EXPECT_THROW(SafetensorsWriter(path, {{"a", DType::F32, {INT64_MAX, 4}}}), InternalError);
}

TEST(Safetensors, ViewsOutliveTheFileObjectWhileTheMapIsHeld) {
  std::shared_ptr<MappedFile> map;
  TensorView view;
  {
    const SafetensorsFile file(fixture("tiny_llama/model.safetensors"));
    map = file.file();
    view = file.at("model.norm.weight");
  }
  EXPECT_EQ(values_of<float>(view).size(), 64U);
}

class Sharded : public testing::Test {
 protected:
  static std::vector<TensorDeclaration> declarations() {
    return {{"a", DType::U8, {100}}, {"b", DType::U8, {60}}, {"c", DType::U8, {60}}, {"d", DType::U8, {0}}};
  }
  void write(std::uint64_t max_shard_bytes) {
    ShardedSafetensorsWriter writer(folder_.path(), declarations(), {{"format", "pt"}}, max_shard_bytes);
    for (const TensorDeclaration& tensor : declarations()) {
      const std::vector<std::uint8_t> data(declared_bytes(tensor), static_cast<std::uint8_t>(tensor.name[0]));
      writer.write(tensor.name, as_bytes(data));
    }
    writer.finish();
  }
  void check() const {
    const ShardedSafetensors shards(folder_.path());
    EXPECT_EQ(shards.names(), (std::vector<std::string>{"a", "b", "c", "d"}));
    for (const TensorDeclaration& tensor : declarations()) {
      const auto values = values_of<std::uint8_t>(shards.at(tensor.name));
      EXPECT_EQ(values,
                std::vector<std::uint8_t>(declared_bytes(tensor), static_cast<std::uint8_t>(tensor.name[0])));
    }
    EXPECT_EQ(shards.metadata().at("format"), "pt");
    expect_error([&] { shards.at("e"); }, {"no tensor \"e\"", "near names"});
  }

  TemporaryFolder folder_;
};

TEST_F(Sharded, OneFileWhenItFits) {
  write(220);
  EXPECT_TRUE(fs::exists(folder_.path() / "model.safetensors"));
  EXPECT_EQ(folder_.count(), 1U);
  check();
}

TEST_F(Sharded, SplitsAtTheLimit) {
  write(120);  // a | b c d
  EXPECT_TRUE(fs::exists(folder_.path() / "model-00001-of-00002.safetensors"));
  EXPECT_TRUE(fs::exists(folder_.path() / "model-00002-of-00002.safetensors"));
  const Json index = read_json_file(folder_.path() / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 220);
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
  check();
}

TEST_F(Sharded, OneShardATensorWhenAllAreTooLarge) {
  write(1);  // the empty tensor d stays with c
  EXPECT_EQ(ShardedSafetensors(folder_.path()).files().size(), 3U);
  check();
}

TEST_F(Sharded, IndexMistakes) {
  struct Case {
    const char* index;
    std::vector<std::string> message;
  };
  write(120);
  const std::vector<Case> cases{
      {"[]", {"index.json", "weight_map"}},
      {"{", {"index.json", "not valid JSON"}},
      {R"({"weight_map": {"a": 3}})", {"must name a file"}},
      {R"({"weight_map": {"a": "../x.safetensors"}})", {"../x.safetensors", "plain"}},
      {R"({"weight_map": {"a": "/etc/x.safetensors"}})", {"plain"}},
      {R"({"weight_map": {"a": "x.bin"}})", {"x.bin", "plain"}},
      {R"({"weight_map": {"a": "model-00009-of-00009.safetensors"}})", {"names shard", "not in the folder"}},
      {R"({"weight_map": {"a": "model-00002-of-00002.safetensors"}})", {"tensor \"a\"", "is not there"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.index);
    folder_.write("model.safetensors.index.json", c.index);
    expect_error([&] { ShardedSafetensors{folder_.path()}; }, c.message);
  }
  const TemporaryFolder empty;
  expect_error([&] { ShardedSafetensors{empty.path()}; }, {"found neither"});
}

TEST(DTypes, TableIsInOrder) {
  for (int i = 0; i <= static_cast<int>(DType::F8_E8M0); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype) << dtype_name(dtype);
  }
  EXPECT_EQ(dtype_size(DType::BF16), 2U);
  EXPECT_FALSE(is_readable_float(DType::F8_E4M3));
  EXPECT_EQ(parse_dtype("f32"), std::nullopt);
}

TEST(DTypes, ShapeProducts) {
  EXPECT_EQ(shape_product(std::vector<std::int64_t>{}), 1);
  EXPECT_EQ(shape_product(std::vector<std::int64_t>{3, 0}), 0);
  EXPECT_EQ(shape_product(std::vector<std::int64_t>{-1, 0}), std::nullopt);
  EXPECT_EQ(shape_product(std::vector<std::int64_t>{INT64_MAX, 2}), std::nullopt);
  EXPECT_EQ(shape_to_string(std::vector<std::int64_t>{2, 3}), "[2, 3]");
}

}  // namespace
}  // namespace lrqat::formats
