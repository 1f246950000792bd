// The converted folder: what went in comes out, and folders that do not hold what they say are refused.
#include "lrqat/model/converted.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lrqat/base/error.h"
#include "lrqat/formats/safetensors.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;
using quant::testing::expect_error;
using testing::TemporaryFolder;

// Everything that is not an integer of ours: equal bits to the source.
void expect_rest_equals(const Decoder& decoder, const formats::WeightSource& source) {
  const auto same = [&](const std::string& name, const at::Tensor& found) {
    const at::Tensor expected = read_tensor(source, name);
    ASSERT_EQ(expected.sizes(), found.sizes()) << name;
    EXPECT_EQ(std::memcmp(expected.const_data_ptr(), found.contiguous().const_data_ptr(), expected.nbytes()),
              0)
        << name;
  };
  const auto matrix = [&](const std::string& module, const quant::WeightParametrization& weight) {
    same(module + ".weight",
         weight.make_tile(0, weight.out_features(), ops::ComputeType::float32).to_float());
  };
  matrix("model.embed_tokens", *decoder.embedding().weight());
  if (!decoder.config().tie_word_embeddings) matrix("lm_head", *decoder.lm_head().weight());
  same("model.norm.weight", decoder.norm().weight);
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) {
    const std::string prefix = concat("model.layers.", i, ".");
    same(prefix + "input_layernorm.weight", decoder.layer(i).input_layernorm().weight);
    same(prefix + "post_attention_layernorm.weight", decoder.layer(i).post_attention_layernorm().weight);
    for (const nn::Linear* linear : decoder.layer(i).linears()) {
      if (linear->bias().defined()) same(linear->name() + ".bias", linear->bias());
    }
  }
}

void expect_same_integers(const Decoder& a, const Decoder& b) {
  const auto left = a.linears(), right = b.linears();
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    const auto x = left[i]->weight()->convert(), y = right[i]->weight()->convert();
    EXPECT_EQ(left[i]->name(), right[i]->name());
    EXPECT_EQ(x.grid, y.grid);
    EXPECT_EQ(x.granularity, y.granularity);
    EXPECT_EQ(x.clipped_fraction, y.clipped_fraction);
    EXPECT_TRUE(at::equal(x.weight_int, y.weight_int)) << left[i]->name();
    EXPECT_TRUE(at::equal(x.scale, y.scale)) << left[i]->name();
  }
}

void expect_round_trip(const fs::path& source, int num_bits, const std::string& granularity) {
  SCOPED_TRACE(concat(source.string(), " ", num_bits, " bits, ", granularity));
  const TemporaryFolder folder;
  const OpenedModel model = testing::open_with_integers(source, num_bits, granularity);
  const fs::path out = folder.path() / "converted";
  const ConvertedSummary summary = save_converted(*model.decoder, *model.source, out);
  EXPECT_EQ(summary.sha256, summarize(*model.decoder).sha256);
  ASSERT_TRUE(is_converted_folder(out));
  const OpenedModel back = open_model(out);
  EXPECT_EQ(back.kind, "converted");
  EXPECT_EQ(back.decoder->config(), model.decoder->config());
  EXPECT_EQ(summarize(*back.decoder).sha256, summary.sha256);
  check_converted(out, *back.decoder);
  expect_same_integers(*model.decoder, *back.decoder);
  expect_rest_equals(*back.decoder, *model.source);
  const at::Tensor tokens = at::arange(24, at::kLong).unsqueeze(0);
  EXPECT_TRUE(at::equal(model.decoder->logits(model.decoder->forward(tokens)),
                        back.decoder->logits(back.decoder->forward(tokens))));
}

TEST(Converted, HoldsEveryBitsAndGranularity) {
  const at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const fs::path source = testing::write_random_model(folder.path() / "float", testing::full_config());
  for (const int num_bits : {2, 3, 4, 8}) {
    for (const char* granularity : {"tensor", "channel", "group:32", "group:16"}) {
      expect_round_trip(source, num_bits, granularity);
    }
  }
}

TEST(Converted, KeepsEverySourceStorage) {
  const at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  for (const auto dtype : {formats::DType::BF16, formats::DType::F16}) {
    const std::string name(formats::dtype_name(dtype));
    expect_round_trip(testing::write_random_model(folder.path() / name, testing::small_config(), dtype), 4,
                      "channel");
  }
  // Odd head sizes and biases, a tied head, and a GGUF file with a Q8_0 embedding and an F16 head.
  expect_round_trip(testing::model_data("biases"), 4, "group:4");
  expect_round_trip(testing::model_data("linear_rope"), 3, "channel");
  expect_round_trip(fs::path(LRQAT_TEST_DATA) / "formats" / "tiny_llama.gguf", 4, "channel");
}

TEST(Converted, StoresTheSourcesOwnTypes) {
  const at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const auto model =
      testing::open_with_integers(fs::path(LRQAT_TEST_DATA) / "formats" / "tiny_llama.gguf", 3, "group:32");
  save_converted(*model.decoder, *model.source, folder.path() / "out");
  const formats::ShardedSafetensors file(folder.path() / "out");
  EXPECT_EQ(file.at("model.embed_tokens.weight_int").dtype, formats::DType::I8);  // Q8_0 in the source
  EXPECT_EQ(file.at("model.embed_tokens.weight_scale").shape, (std::vector<std::int64_t>{96, 2}));
  EXPECT_EQ(file.at("lm_head.weight").dtype, formats::DType::F16);
  EXPECT_EQ(file.at("model.norm.weight").dtype, formats::DType::F32);
  const auto& packed = file.at("model.layers.0.mlp.down_proj.weight_packed");
  EXPECT_EQ(packed.dtype, formats::DType::U8);
  EXPECT_EQ(packed.shape, (std::vector<std::int64_t>{64, 48}));
  EXPECT_EQ(file.at("model.layers.0.mlp.down_proj.weight_scale").dtype, formats::DType::F16);
}

TEST(Converted, KeepsScalesThatFloat16DoesNotHold) {
  const at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const fs::path source = testing::write_random_model(folder.path() / "float", testing::small_config());
  OpenedModel model = testing::open_with_integers(source, 4, "channel");
  auto weight = testing::random_integers(64, 64, 4, "channel", 3);
  weight.scale.mul_(1.0001);
  nn::Linear* linear = model.decoder->find_linear("model.layers.1.self_attn.q_proj");
  linear->set_weight(std::make_shared<quant::IntegerWeight>("q", weight));
  save_converted(*model.decoder, *model.source, folder.path() / "out");
  const auto back = load_converted(folder.path() / "out");
  EXPECT_TRUE(at::equal(back->find_linear(linear->name())->weight()->convert().scale, weight.scale));
}

TEST(Converted, TheChecksumSeesCodesScalesBitsAndNames) {
  const at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const fs::path source = testing::write_random_model(folder.path() / "float", testing::small_config());
  OpenedModel model = testing::open_with_integers(source, 4, "channel");
  const std::string before = summarize(*model.decoder).sha256;
  nn::Linear* linear = model.decoder->linears()[5];
  const auto original = linear->weight()->convert();
  const auto with = [&](const std::function<void(quant::QuantizedWeight&)>& change) {
    quant::QuantizedWeight changed = original;
    changed.weight_int = original.weight_int.clone();
    changed.scale = original.scale.clone();
    change(changed);
    linear->set_weight(std::make_shared<quant::IntegerWeight>("changed", changed));
    return summarize(*model.decoder).sha256;
  };
  EXPECT_EQ(with([](auto&) {}), before);
  EXPECT_NE(with([](auto& weight) { weight.weight_int[1][2] = weight.weight_int[1][2].bitwise_xor(1); }),
            before);
  EXPECT_NE(with([](auto& weight) { weight.scale[3] *= 2; }), before);
  EXPECT_NE(with([](auto& weight) { weight.grid = quant::Grid::signed_symmetric(8); }), before);
}

TEST(Converted, KeepsTheTokenizerFiles) {
  const at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const fs::path source = testing::write_random_model(folder.path() / "float", testing::small_config());
  write_text_file(source / "tokenizer.json", "{\"as\": \"it is\"}");
  write_text_file(source / "tokenizer_config.json", "{}");
  write_text_file(source / "notes.txt", "not part of a model");
  const auto model = testing::open_with_integers(source, 4, "channel");
  const fs::path out = folder.path() / "out";
  save_converted(*model.decoder, *model.source, out);
  EXPECT_EQ(read_text_file(out / "tokenizer.json"), "{\"as\": \"it is\"}");
  EXPECT_TRUE(fs::exists(out / "tokenizer_config.json"));
  EXPECT_FALSE(fs::exists(out / "notes.txt"));
}

TEST(Converted, AppearsWholeOrNotAtAll) {
  const at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const fs::path source = testing::write_random_model(folder.path() / "float", testing::small_config());
  const auto plain = open_model(source);
  const auto model = testing::open_with_integers(source, 4, "channel");
  const fs::path out = folder.path() / "out";
  const auto save = [&](const OpenedModel& opened, bool replace) {
    save_converted(*opened.decoder, *opened.source, out, replace);
  };
  expect_error<Error>([&] { save(plain, false); }, {"no linear of this model is quantized"});
  EXPECT_FALSE(fs::exists(out));
  fs::create_directory(out);
  write_text_file(out / "thesis.txt", "mine");
  expect_error<Error>([&] { save(model, false); }, {out.string(), "exists"});
  expect_error<Error>([&] { save(model, true); },
                      {out.string(), "not a folder that lrqat convert or export wrote"});
  EXPECT_EQ(read_text_file(out / "thesis.txt"), "mine");
  fs::remove(out / "thesis.txt");
  save(model, true);
  save(model, true);  // replaces the folder that it wrote
  EXPECT_TRUE(is_converted_folder(out));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 2);  // float and out, nothing temporary
}

// A folder that was whole, and then changed.
class DamagedFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    const at::NoGradGuard no_grad;
    const fs::path source = testing::write_random_model(folder_.path() / "float", testing::small_config());
    const auto model = testing::open_with_integers(source, 4, "channel");
    save_converted(*model.decoder, *model.source, out_);
  }

  void change_config(const std::function<void(Json&)>& change) {
    Json json = read_json_file(out_ / "config.json");
    change(json);
    write_text_file(out_ / "config.json", json.dump());
  }

  // Writes the tensors again, changed.
  void change_tensors(const std::function<void(std::vector<formats::TensorDeclaration>&,
                                               std::vector<std::vector<std::byte>>&)>& change) {
    std::vector<formats::TensorDeclaration> declared;
    std::vector<std::vector<std::byte>> data;
    {
      const formats::SafetensorsFile file(out_ / "model.safetensors");
      for (const auto& view : file.tensors()) {
        declared.push_back({view.name, view.dtype, view.shape});
        data.emplace_back(view.data.begin(), view.data.end());
      }
    }
    change(declared, data);
    formats::SafetensorsWriter writer(out_ / "model.safetensors", declared);
    for (std::size_t i = 0; i < declared.size(); ++i) writer.write(declared[i].name, data[i]);
    writer.finish();
  }

  static std::size_t index_of(const std::vector<formats::TensorDeclaration>& declared,
                              const std::string& name) {
    for (std::size_t i = 0; i < declared.size(); ++i) {
      if (declared[i].name == name) return i;
    }
    throw std::runtime_error(name);
  }

  void expect_refused(const std::vector<std::string>& parts) {
    expect_error<Error>([&] { check_converted(out_, *load_converted(out_)); }, parts);
  }

  TemporaryFolder folder_;
  fs::path out_ = folder_.path() / "out";
  const std::string up_ = "model.layers.0.mlp.up_proj";
};

Json& layer_of(Json& config, const std::string& name) {
  for (Json& layer : config["quantization_config"]["layers"]) {
    if (layer["name"] == name) return layer;
  }
  throw std::runtime_error(name);
}

TEST_F(DamagedFolder, IsFineBeforeItIsDamaged) { check_converted(out_, *load_converted(out_)); }

TEST_F(DamagedFolder, OtherVersion) {
  change_config([](Json& json) { json["quantization_config"]["version"] = 9; });
  expect_refused({"config.json", "version 9"});
}

TEST_F(DamagedFolder, MissingKey) {
  change_config([](Json& json) { json["quantization_config"].erase("layers"); });
  expect_refused({"config.json", "layers"});
}

TEST_F(DamagedFolder, BitsThatDoNotExist) {
  change_config([&](Json& json) { layer_of(json, up_)["num_bits"] = 9; });
  expect_refused({"num_bits is 9, expected 2 to 8"});
}

TEST_F(DamagedFolder, LayerThatDoesNotExist) {
  change_config([&](Json& json) { layer_of(json, up_)["name"] = "model.layers.7.mlp.up_proj"; });
  expect_refused({"model.layers.7.mlp.up_proj", "quantization_config"});
}

TEST_F(DamagedFolder, LayerThatIsNoMatrix) {
  change_config([&](Json& json) { layer_of(json, up_)["name"] = "model.norm"; });
  expect_refused({"model.norm", "no matrix"});
}

TEST_F(DamagedFolder, LayerTwice) {
  change_config([&](Json& json) { layer_of(json, up_)["name"] = "model.layers.0.mlp.gate_proj"; });
  expect_refused({"model.layers.0.mlp.gate_proj", "twice"});
}

TEST_F(DamagedFolder, LayerThatIsNotListed) {
  change_config([&](Json& json) {
    Json& layers = json["quantization_config"]["layers"];
    layers.erase(layers.begin());
  });
  expect_refused({"model.layers.0.self_attn.q_proj.weight"});
}

TEST_F(DamagedFolder, EightBitsDeclaredFourStored) {
  change_config([&](Json& json) { layer_of(json, up_)["num_bits"] = 8; });
  expect_refused({up_ + ".weight_packed", "no place"});
}

TEST_F(DamagedFolder, FewerBitsDeclaredThanStored) {
  change_config([&](Json& json) { layer_of(json, up_)["num_bits"] = 2; });
  expect_refused({up_, "codes range from -8 to 7", "2 bits"});
}

TEST_F(DamagedFolder, OtherGranularityThanStored) {
  change_config([&](Json& json) {
    layer_of(json, up_)["granularity"] = "group";
    layer_of(json, up_)["group_size"] = 32;
  });
  expect_refused({up_ + ".weight_scale", "[96, 1]", "[96, 2]"});
}

TEST_F(DamagedFolder, GroupSizesThatDivideNothing) {
  for (const std::int64_t size : {48, 0, -32}) {
    change_config([&](Json& json) {
      layer_of(json, up_)["granularity"] = "group";
      layer_of(json, up_)["group_size"] = size;
    });
    expect_refused({concat(size)});
  }
}

TEST_F(DamagedFolder, MissingTensor) {
  change_tensors([&](auto& declared, auto& data) {
    const std::size_t i = index_of(declared, up_ + ".weight_scale");
    declared.erase(declared.begin() + static_cast<std::ptrdiff_t>(i));
    data.erase(data.begin() + static_cast<std::ptrdiff_t>(i));
  });
  expect_refused({up_ + ".weight_scale"});
}

TEST_F(DamagedFolder, ExtraTensor) {
  change_tensors([&](auto& declared, auto& data) {
    declared.push_back({up_ + ".weight", formats::DType::F32, {1}});
    data.emplace_back(4);
  });
  expect_refused({up_ + ".weight\"", "no place"});
}

TEST_F(DamagedFolder, WrongType) {
  change_tensors([&](auto& declared, auto&) {
    declared[index_of(declared, up_ + ".weight_packed")].dtype = formats::DType::I8;
  });
  expect_refused({up_ + ".weight_packed", "I8", "U8"});
}

TEST_F(DamagedFolder, WrongShape) {
  change_tensors([&](auto& declared, auto&) {
    declared[index_of(declared, up_ + ".weight_packed")].shape = {32, 96};
  });
  expect_refused({up_ + ".weight_packed", "[32, 96]", "[96, 32]"});
}

TEST_F(DamagedFolder, ScaleThatIsNotFinite) {
  change_tensors([&](auto& declared, auto& data) {
    data[index_of(declared, up_ + ".weight_scale")][1] =
        std::byte{0x7c};  // float16: infinity or not a number
  });
  expect_refused({up_ + ".weight_scale", "not finite"});
}

TEST_F(DamagedFolder, FlippedCode) {
  change_tensors([&](auto& declared, auto& data) {
    data[index_of(declared, up_ + ".weight_packed")][77] ^= std::byte{1};
  });
  expect_refused({out_.string(), "sha256", "damaged"});
}

TEST_F(DamagedFolder, FlippedScale) {
  change_tensors([&](auto& declared, auto& data) {
    data[index_of(declared, up_ + ".weight_scale")][6] ^= std::byte{1};
  });
  expect_refused({out_.string(), "sha256"});
}

TEST_F(DamagedFolder, TruncatedFile) {
  fs::resize_file(out_ / "model.safetensors", fs::file_size(out_ / "model.safetensors") - 5);
  expect_refused({"model.safetensors"});
}

}  // namespace
}  // namespace lrqat::model
