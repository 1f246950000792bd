// Folders as other savers leave them: names with prefixes, a multimodal model's text part, tied matrices
// under their other name, leftovers, and what is not weights at all.
#include "lrqat/formats/checkpoint.h"

#include <gtest/gtest.h>

#include "lrqat/formats/weight_source.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLfsPointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nsize 437600\n";

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  if (const std::size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// tiny_llama's tensors under other names.
class SavedFolder : public testing::Test {
 protected:
  using Rename = std::function<std::string(const std::string&)>;

  void write(const Rename& rename, const std::string& file = "model.safetensors",
             const std::vector<TensorDeclaration>& more = {}) {
    folder_.write("config.json", config_.dump());
    std::vector<TensorDeclaration> declared;
    for (const TensorView& tensor : source_.tensors()) {
      if (const std::string name = rename(tensor.name); !name.empty())
        declared.push_back({name, tensor.dtype, tensor.shape});
    }
    declared.insert(declared.end(), more.begin(), more.end());
    SafetensorsWriter writer(folder_.path() / file, declared);
    for (const TensorView& tensor : source_.tensors()) {
      if (const std::string name = rename(tensor.name); !name.empty()) writer.write(name, tensor.data);
    }
    for (const TensorDeclaration& tensor : more)
      writer.write(tensor.name, std::vector<std::byte>(declared_bytes(tensor)));
    writer.finish();
  }
  void expect_whole() {
    const auto found = open_weight_source(folder_.path());
    const auto expected = open_weight_source(fixture("tiny_llama"));
    EXPECT_EQ(found->names().size(), expected->names().size());
    for (const std::string& name : expected->names()) {
      ASSERT_TRUE(found->has(name)) << name;
      EXPECT_EQ(found->read(name), expected->read(name)) << name;
      found->release(name);
    }
  }
  void expect_failure(const std::vector<std::string>& parts) {
    expect_error([&] { open_weight_source(folder_.path()); }, parts);
  }
  static std::string same(const std::string& name) { return name; }

  TemporaryFolder folder_;
  SafetensorsFile source_{fixture("tiny_llama/model.safetensors")};
  Json config_ = read_json_file(fixture("tiny_llama/config.json"));
};

TEST_F(SavedFolder, PrefixesOfWrappersAreTakenOff) {
  const std::vector<std::pair<const char*, Rename>> savers{
      {"no base prefix", [](const std::string& name) { return replaced(name, "model.", ""); }},
      {"torch.compile", [](const std::string& name) { return "_orig_mod." + name; }},
      {"torch.compile inside",
       [](const std::string& name) { return replaced(name, "model.", "model._orig_mod."); }},
      {"DDP", [](const std::string& name) { return "module." + name; }},
      {"DDP of torch.compile", [](const std::string& name) { return "module._orig_mod." + name; }},
      {"PEFT", [](const std::string& name) { return "base_model.model." + name; }},
      {"Lightning", [](const std::string& name) { return "model." + name; }},
      {"FSDP",
       [](const std::string& name) { return replaced(name, "layers.", "_fsdp_wrapped_module.layers."); }},
      {"activation checkpoints",
       [](const std::string& name) { return replaced(name, ".mlp.", "._checkpoint_wrapped_module.mlp."); }},
      {"a trainer of its own", [](const std::string& name) { return "student.network." + name; }},
  };
  for (const auto& [saver, rename] : savers) {
    SCOPED_TRACE(saver);
    write(rename);
    expect_whole();
  }
}

TEST_F(SavedFolder, ANameThatStandsTwiceIsNamed) {
  write(same, "model.safetensors", {{"_orig_mod.model.norm.weight", DType::F32, {64}}});
  expect_failure({"_orig_mod.model.norm.weight", "are both \"model.norm.weight\""});
}

TEST_F(SavedFolder, TensorsOutsideThePrefixHaveNoPlace) {
  write([](const std::string& name) { return "policy." + name; }, "model.safetensors",
        {{"v_head.summary.weight", DType::F32, {1, 64}}});
  expect_failure({"v_head.summary.weight", "has no place"});
}

TEST_F(SavedFolder, AdaptersThatWereNotMergedAreNamed) {
  for (const char* name : {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                           "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight",
                           "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
                           "model.layers.0.self_attn.q_proj.base_layer.weight",
                           "base_model.model.lm_head.modules_to_save.default.weight"}) {
    write(same, "model.safetensors", {{name, DType::F32, {4, 4}}});
    expect_failure({name, "PEFT's adapters", "merge_and_unload()"});
  }
}

TEST_F(SavedFolder, QuantizedLeftoversAreNamed) {
  const std::string linear = "model.layers.0.mlp.up_proj";
  const std::vector<std::pair<const char*, const char*>> leftovers{
      {".SCB", "bitsandbytes"},
      {".weight.absmax", "bitsandbytes"},
      {".weight.quant_state.bitsandbytes__nf4", "bitsandbytes"},
      {".weight_scale_inv", "8-bit floats"},
      {".weight_scale", "compressed-tensors"},
      {".qzeros", "GPTQ or AWQ"},
      {".scales", "MLX"},
      {".biases", "MLX"}};
  for (const auto& [ending, writer] : leftovers) {
    write(same, "model.safetensors", {{linear + ending, DType::F32, {4, 4}}});
    expect_failure({linear + ending, "quantized by", writer, "no quantization_config"});
  }
}

TEST_F(SavedFolder, MlxIsNamed) {
  const Json how{{"group_size", 64}, {"bits", 4}};
  const std::vector<std::vector<const char*>> written = {
      {"quantization", "quantization_config"}, {"quantization"}, {"quantization_config"}};
  for (const auto& keys : written) {
    config_.erase("quantization");
    config_.erase("quantization_config");
    for (const char* key : keys) config_[key] = how;
    write(same);
    expect_failure({"config.json", "quantized by MLX", "name the float model"});
  }
}

TEST_F(SavedFolder, OtherMethodsAreNamed) {
  config_["quantization_config"] = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
  write(same);
  expect_failure(
      {"config.json", "quant_method \"bitsandbytes\"", "compressed-tensors, gptq, awq or auto-round"});
}

TEST_F(SavedFolder, ATiedMatrixUnderTheHeadsNameIsTheEmbedding) {
  config_["tie_word_embeddings"] = true;
  write([](const std::string& name) { return name == "model.embed_tokens.weight" ? "" : name; });
  const auto found = open_weight_source(folder_.path());
  EXPECT_FALSE(found->has("lm_head.weight"));
  const auto expected = open_weight_source(fixture("tiny_llama"));
  EXPECT_EQ(found->read("model.embed_tokens.weight"), expected->read("lm_head.weight"));
  // The control: without the tie it is a missing embedding.
  config_["tie_word_embeddings"] = false;
  write([](const std::string& name) { return name == "model.embed_tokens.weight" ? "" : name; });
  expect_failure({"model.embed_tokens.weight", "is missing"});
}

TEST_F(SavedFolder, TheTextPartOfAMultimodalModelIsRead) {
  const Json text = config_;
  const std::vector<std::pair<std::string, std::string>> layouts{
      {"language_model.model.", "language_model.lm_head."}, {"model.language_model.", "lm_head."}};
  for (const auto& [base, head] : layouts) {
    SCOPED_TRACE(base);
    config_ = {{"model_type", "llava"},
               {"text_config", text},
               {"vision_config", Json::object()},
               {"eos_token_id", 7}};
    config_["text_config"].erase("tie_word_embeddings");
    write([&](const std::string& name) { return replaced(replaced(name, "model.", base), "lm_head.", head); },
          "model.safetensors",
          {{"vision_tower.encoder.layers.0.layer_norm1.weight", DType::F32, {8}},
           {"model.vision_tower.patch_embedding.weight", DType::F32, {8}},
           {"multi_modal_projector.linear_1.weight", DType::F32, {8, 8}}});
    expect_whole();
    const ModelConfig found = open_weight_source(folder_.path())->config();
    EXPECT_EQ(found.eos_token_id, std::vector<std::int64_t>{7});
    EXPECT_FALSE(found.tie_word_embeddings);  // nobody says it, but there is a head
  }
}

TEST_F(SavedFolder, OtherMultimodalModelsAreNamed) {
  config_ = {{"model_type", "qwen2_vl"}, {"text_config", config_}};
  write(same);
  expect_failure({"text part of model_type \"qwen2_vl\"", "gemma3, mistral3"});
}

TEST_F(SavedFolder, DefaultsOfATextPartThatItsWriterLeftOut) {
  // Gemma 3 4B as published.
  folder_.write("config.json", R"({"model_type": "gemma3", "eos_token_id": [1, 106], "text_config": {
      "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
      "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}})");
  folder_.write("model.safetensors", std::string("\2\0\0\0\0\0\0\0{}", 10));
  const ModelConfig config = config_from_json(read_folder_config(folder_.path()).json, "config.json");
  EXPECT_EQ(config.vocab_size, 262208);
  EXPECT_EQ(config.num_attention_heads, 8);
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 256);
  EXPECT_EQ(config.rope_scaling.factor, 8.0);
  EXPECT_EQ(config.rope_local_theta, 1e4);
  EXPECT_EQ(config.eos_token_id, (std::vector<std::int64_t>{1, 106}));
  EXPECT_TRUE(config.tie_word_embeddings);
}

TEST_F(SavedFolder, AFolderOfTwoSavesIsNamed) {
  write(same);
  write(same, "model-00001-of-00001.safetensors");
  Json index;
  for (const TensorView& tensor : source_.tensors())
    index["weight_map"][tensor.name] = "model-00001-of-00001.safetensors";
  folder_.write("model.safetensors.index.json", index.dump());
  expect_failure({"model.safetensors and model.safetensors.index.json", "model-00001-of-00001", "remove"});
  fs::remove(folder_.path() / "model.safetensors");
  expect_whole();
  // An index of the one file is no second model.
  write(same);
  for (const TensorView& tensor : source_.tensors()) index["weight_map"][tensor.name] = "model.safetensors";
  folder_.write("model.safetensors.index.json", index.dump());
  expect_whole();
}

TEST_F(SavedFolder, OneFileOfAnotherName) {
  write(same, "gptq_model-4bit-128g.safetensors");
  expect_whole();
  write(same, "second.safetensors");
  expect_failure({"2 safetensors files", "no model.safetensors.index.json"});
}

TEST_F(SavedFolder, PicklesAreNamedWithWhatToDo) {
  folder_.write("config.json", config_.dump());
  for (const char* name :
       {"pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.ckpt"}) {
    const fs::path file = folder_.write(name, "PK");
    expect_failure({name, "a pickle", "save_pretrained", "safetensors"});
    expect_error([&] { open_weight_source(file); }, {name, "a pickle", "save_pretrained"});
    fs::remove(file);
  }
  folder_.write("training_args.bin", "PK");
  expect_failure({"found neither"});
}

TEST_F(SavedFolder, AdaptersAloneAreNamed) {
  folder_.write("adapter_config.json", R"({"base_model_name_or_path": "some/base"})");
  folder_.write("adapter_model.safetensors", "");
  expect_failure({"adapters alone", "some/base", "merge_and_unload()"});
}

TEST_F(SavedFolder, LfsPointersAreNamed) {
  write(same);
  for (const char* name : {"model.safetensors", "config.json"}) {
    folder_.write(name, kLfsPointer);
    expect_failure({name, "git-lfs pointer", "git lfs pull"});
    write(same);
  }
  const fs::path gguf = folder_.write("model.gguf", kLfsPointer);
  expect_error([&] { open_weight_source(gguf); }, {"model.gguf", "git-lfs pointer"});
  expect_whole();
}

TEST_F(SavedFolder, QuantizationInAFileOfItsOwn) {
  write(same);
  const std::vector<std::pair<const char*, const char*>> files{{"quantize_config.json", "gptq"},
                                                               {"quant_config.json", "awq"},
                                                               {"quantization_config.json", "auto-round"}};
  for (const auto& [file, method] : files) {
    folder_.write(file, R"({"bits": 4})");
    EXPECT_EQ(read_folder_config(folder_.path()).json["quantization_config"],
              (Json{{"bits", 4}, {"quant_method", method}}));
    fs::remove(folder_.path() / file);
  }
  EXPECT_FALSE(read_folder_config(folder_.path()).json.contains("quantization_config"));
}

}  // namespace
}  // namespace lrqat::formats
