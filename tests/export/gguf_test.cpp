// GGUF export: every width, granularity and block type back as scale times code, files that do not hold the
// model noticed, models that GGUF cannot hold refused.
#include "lrqat/formats/gguf.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"
#include "lrqat/export/exporter.h"
#include "lrqat/export/gguf_read_back.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/model/converted.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
namespace fixtures = model::testing;
using formats::GgmlType;
using quant::testing::expect_error;

class GgufExport : public ::testing::Test {
 protected:
  fs::path float_model(const formats::ModelConfig& config, formats::DType dtype = formats::DType::F32) {
    return fixtures::write_random_model(folder_.path() / concat("float", ++count_), config, dtype);
  }
  // Whole models are compared here, bit for bit, so what is not trained is kept, where a test says nothing.
  ExportReport run(const model::OpenedModel& model, ExportOptions options = {}) {
    if (options.rest_type == "auto") options.rest_type = "keep";
    return export_model(find_exporter("gguf"), model, out_, options, progress_);
  }
  // Nothing but the models in the folder.
  void expect_no_file() {
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      EXPECT_TRUE(entry.is_directory()) << entry;
  }

  const at::NoGradGuard no_grad_;
  const model::testing::TemporaryFolder folder_;
  fs::path out_ = folder_.path() / "m.gguf";
  SilentProgress progress_;
  int count_ = 0;
};

// By the GGUF reader, which knows nothing of integers: floats under Hugging Face's names, in its row order.
void expect_holds_products(const fs::path& file, const model::Decoder& decoder) {
  const auto source = formats::open_weight_source(file);
  for (const nn::Linear* linear : decoder.linears()) {
    const at::Tensor expected = fixtures::product(linear->weight()->convert());
    EXPECT_TRUE(at::equal(model::read_tensor(*source, linear->name() + ".weight"), expected))
        << linear->name();
  }
}

// What the file takes from the float model as it is.
void expect_holds_rest(const fs::path& file, const formats::WeightSource& original) {
  const auto source = formats::open_weight_source(file);
  int count = 0;
  for (const std::string& name : original.names()) {
    if (name.ends_with("_proj.weight")) continue;
    EXPECT_TRUE(at::equal(model::read_tensor(*source, name), model::read_tensor(original, name))) << name;
    ++count;
  }
  EXPECT_EQ(source->names().size(), original.names().size());
  EXPECT_GT(count, 4);
}

TEST_F(GgufExport, HoldsEveryBitsGranularityAndType) {
  const fs::path source = float_model(fixtures::full_config());
  for (const int num_bits : {2, 3, 4, 8}) {
    for (const char* granularity : {"tensor", "channel", "group:32"}) {
      for (const char* type : {"auto", "q4_0", "q8_0"}) {
        if (num_bits == 8 && type == std::string("q4_0")) continue;
        SCOPED_TRACE(concat(num_bits, " ", granularity, " ", type));
        const auto model = fixtures::open_with_integers(source, num_bits, granularity);
        const ExportReport report = run(model, {.linear_type = type});
        EXPECT_EQ(report.bit_exact_tensors, report.tensors);
        EXPECT_EQ(report.bytes, static_cast<std::int64_t>(fs::file_size(out_)));
        // Q2_0 has blocks of 64: whole rows of this model, but not groups of 32.
        const GgmlType smallest = num_bits == 2 && granularity != std::string("group:32") ? GgmlType::Q2_0
                                  : num_bits == 8                                         ? GgmlType::Q8_0
                                                                                          : GgmlType::Q4_0;
        EXPECT_EQ(formats::GgufFile(out_).at("blk.0.attn_q.weight").type,
                  type == std::string("auto")   ? smallest
                  : type == std::string("q4_0") ? GgmlType::Q4_0
                                                : GgmlType::Q8_0);
        expect_holds_products(out_, *model.decoder);
        expect_holds_rest(out_, *model.source);
      }
    }
  }
}

TEST_F(GgufExport, IsTheSameFromTheConvertedFolder) {
  const fs::path source = float_model(fixtures::full_config());
  const auto model = fixtures::open_with_integers(source, 4, "group:32");
  model::save_converted(*model.decoder, *model.source, folder_.path() / "converted");
  run(model);
  const std::string direct = read_text_file(out_);
  run(model::open_model(folder_.path() / "converted"));
  const std::string converted = read_text_file(out_);
  EXPECT_EQ(formats::GgufFile(out_).get<std::string>("general.name"), source.filename().string());
  EXPECT_EQ(converted, direct);
}

TEST_F(GgufExport, ComesFromGgufWithItsBlocksKept) {
  const fs::path source = fs::path(LRQAT_TEST_DATA) / "formats" / "tiny_llama.gguf";
  const auto model = fixtures::open_with_integers(source, 4, "channel");
  const formats::GgufFile original(source);
  const auto check = [&](const model::OpenedModel& opened, const ExportOptions& options) {
    const ExportReport report = run(opened, options);
    EXPECT_EQ(report.bit_exact_tensors, report.tensors);
    expect_holds_products(out_, *model.decoder);
    const formats::GgufFile file(out_);
    for (const char* name : {"token_embd.weight", "output.weight", "output_norm.weight"}) {
      EXPECT_EQ(file.at(name).type, original.at(name).type) << name;
      EXPECT_TRUE(std::ranges::equal(file.at(name).data, original.at(name).data)) << name;
    }
  };
  check(model, {});
  model::save_converted(*model.decoder, *model.source, folder_.path() / "converted");
  check(model::open_model(folder_.path() / "converted"), {});
  check(model::open_model(folder_.path() / "converted"), {.linear_type = "q8_0"});
}

TEST_F(GgufExport, WritesTheRestAsAsked) {
  const fs::path source = float_model(fixtures::small_config());
  const auto model = fixtures::open_with_integers(source, 4, "channel");
  const auto type_with = [&](const std::string& rest, std::int64_t inexact) {
    const ExportReport report = run(model, {.rest_type = rest});
    EXPECT_EQ(report.tensors - report.bit_exact_tensors, inexact) << rest;
    EXPECT_EQ(formats::GgufFile(out_).at("blk.1.ffn_down.weight").type, GgmlType::Q4_0);
    EXPECT_EQ(formats::GgufFile(out_).at("output_norm.weight").type, GgmlType::F32);
    return formats::GgufFile(out_).at("token_embd.weight").type;
  };
  EXPECT_EQ(type_with("keep", 0), GgmlType::F32);
  EXPECT_EQ(type_with("f32", 0), GgmlType::F32);
  EXPECT_EQ(type_with("f16", 2), GgmlType::F16);  // embedding and head, which random float32 does not fit
  EXPECT_EQ(type_with("bf16", 2), GgmlType::BF16);
  EXPECT_EQ(type_with("q8_0", 2), GgmlType::Q8_0);
}

// By default, as llama.cpp's own quantizer does; blocks of 256 are Q6_K's.
TEST_F(GgufExport, ChoosesTypesForTheRest) {
  formats::ModelConfig wide = fixtures::small_config();
  wide.hidden_size = wide.intermediate_size = 256;
  const auto types = [&](const formats::ModelConfig& config, int num_bits, formats::DType dtype) {
    const auto model = fixtures::open_with_integers(float_model(config, dtype), num_bits, "channel");
    const ExportReport report = export_model(find_exporter("gguf"), model, out_, {}, progress_);
    const formats::GgufFile file(out_);
    const auto embedding = file.at("token_embd.weight").type, head = file.at("output.weight").type;
    EXPECT_EQ(embedding, head);
    EXPECT_EQ(file.at("output_norm.weight").type, GgmlType::F32);
    EXPECT_EQ(report.rounded.size(), 2U);
    EXPECT_EQ(report.tensors - report.bit_exact_tensors, 2);
    expect_holds_products(out_, *model.decoder);
    return head;
  };
  EXPECT_EQ(types(wide, 4, formats::DType::F32), GgmlType::Q6_K);
  EXPECT_EQ(types(wide, 4, formats::DType::BF16), GgmlType::Q6_K);
  EXPECT_EQ(types(wide, 8, formats::DType::F32), GgmlType::Q8_0);
  EXPECT_EQ(types(fixtures::small_config(), 4, formats::DType::F16), GgmlType::Q8_0);
  const auto floats = model::open_model(float_model(wide));
  const ExportReport report = export_model(find_exporter("gguf"), floats, out_, {}, progress_);
  EXPECT_EQ(report.bit_exact_tensors, report.tensors);
  EXPECT_TRUE(report.rounded.empty());
}

TEST_F(GgufExport, KeepsSixteenBits) {
  for (const auto& [dtype, type] :
       {std::pair{formats::DType::F16, GgmlType::F16}, std::pair{formats::DType::BF16, GgmlType::BF16}}) {
    const auto model =
        fixtures::open_with_integers(float_model(fixtures::small_config(), dtype), 4, "channel");
    const ExportReport report = run(model);
    EXPECT_EQ(report.bit_exact_tensors, report.tensors);
    EXPECT_EQ(formats::GgufFile(out_).at("token_embd.weight").type, type);
    EXPECT_EQ(formats::GgufFile(out_).at("output_norm.weight").type, GgmlType::F32);
    expect_holds_rest(out_, *model.source);
  }
}

TEST_F(GgufExport, TurnsBlocksIntoTheAskedType) {
  const fs::path source = fs::path(LRQAT_TEST_DATA) / "formats" / "tiny_llama.gguf";
  const auto model = fixtures::open_with_integers(source, 4, "channel");
  model::save_converted(*model.decoder, *model.source, folder_.path() / "converted");
  run(model, {.rest_type = "f32"});
  EXPECT_EQ(formats::GgufFile(out_).at("token_embd.weight").type, GgmlType::F32);
  run(model::open_model(folder_.path() / "converted"), {.rest_type = "f32"});
  EXPECT_EQ(formats::GgufFile(out_).at("token_embd.weight").type, GgmlType::F32);
  expect_holds_rest(out_, *model.source);
}

TEST_F(GgufExport, WritesMatricesAsFloats) {
  const auto model = fixtures::open_with_integers(float_model(fixtures::full_config()), 3, "channel");
  const ExportReport report = run(model, {.matrices = "f32"});
  EXPECT_EQ(report.bit_exact_tensors, report.tensors);
  const formats::GgufFile file(out_);
  for (const auto& tensor : file.tensors()) EXPECT_EQ(tensor.type, GgmlType::F32) << tensor.name;
  EXPECT_EQ(file.get<std::int64_t>("general.file_type"), 0);
  expect_holds_products(out_, *model.decoder);
}

TEST_F(GgufExport, WritesTheMetadataOfTheConfig) {
  formats::ModelConfig linear = fixtures::small_config();
  linear.rope_scaling = {"linear", 4.0, 1.0, 4.0, 0};
  formats::ModelConfig tied = fixtures::small_config();
  tied.tie_word_embeddings = true;
  for (const formats::ModelConfig& config : {fixtures::full_config(), linear, tied}) {
    run(fixtures::open_with_integers(float_model(config), 4, "channel"));
    const formats::GgufFile file(out_);
    const formats::ModelConfig back = formats::config_from_gguf(file);
    EXPECT_EQ(formats::config_to_json(back)["rope_parameters"],
              formats::config_to_json(config)["rope_parameters"]);
    EXPECT_EQ(back.rope_scaling, config.rope_scaling);
    EXPECT_EQ(back.head_dim, config.head_dim);
    EXPECT_EQ(back.num_key_value_heads, config.num_key_value_heads);
    EXPECT_EQ(back.max_position_embeddings, config.max_position_embeddings);
    EXPECT_EQ(back.attention_bias, config.attention_bias);
    EXPECT_EQ(back.mlp_bias, config.mlp_bias);
    EXPECT_EQ(back.tie_word_embeddings, config.tie_word_embeddings);
    EXPECT_EQ(file.find("output.weight") == nullptr, config.tie_word_embeddings);
    EXPECT_EQ(file.find("rope_freqs.weight") != nullptr, config.rope_scaling.rope_type == "llama3");
    EXPECT_EQ(file.get<std::string>("general.architecture"), "llama");
    EXPECT_EQ(file.get<std::int64_t>("general.file_type"), 2);
    EXPECT_EQ(file.get<std::int64_t>("general.quantization_version"), 2);
    EXPECT_EQ(file.get<std::int64_t>("llama.vocab_size"), config.vocab_size);
  }
}

TEST_F(GgufExport, SaysWhatItDoesNotWrite) {
  const fs::path source = float_model(fixtures::small_config());
  const auto warnings = [&](const model::OpenedModel& model, const ExportOptions& options) {
    std::string all;
    for (const std::string& warning : run(model, options).warnings) all += warning + "\n";
    return all;
  };
  EXPECT_NE(warnings(model::open_model(source), {}).find("no linear of this model is quantized"),
            std::string::npos);
  const auto model = fixtures::open_with_integers(source, 4, "channel");
  EXPECT_EQ(warnings(model, {}).find("quantized"), std::string::npos);
  EXPECT_NE(warnings(model, {}).find("no tokenizer"), std::string::npos);
  EXPECT_NE(warnings(model, {.rest_type = "q8_0"}).find("rounded to q8_0"), std::string::npos);
}

// ---- the read-back notices

class ReadBack : public GgufExport {
 protected:
  void SetUp() override {
    model_.emplace(fixtures::open_with_integers(float_model(fixtures::full_config()), 4, "group:32"));
    run(*model_);
  }
  // Byte `offset` of the tensor's data in the file, xor 1.
  void flip(const std::string& tensor, std::size_t offset, std::byte mask = std::byte{1}) {
    std::size_t at = 0;
    {
      const formats::GgufFile file(out_);
      at = static_cast<std::size_t>(file.at(tensor).data.data() - file.file()->bytes().data()) + offset;
    }
    std::fstream file(out_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char value = static_cast<char>(static_cast<std::byte>(file.get()) ^ mask);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(value);
  }
  void read_back(ExportOptions options = {}) {
    options.rest_type = "keep";
    ExportReport report;
    read_back_gguf(out_, gguf_tensors(*model_->decoder, options), report, progress_);
    EXPECT_EQ(report.bit_exact_tensors, report.tensors);
  }
  void expect_seen(const std::string& tensor, std::size_t offset, const std::vector<std::string>& parts) {
    flip(tensor, offset);
    expect_error<Error>([&] { read_back(); }, parts);
    flip(tensor, offset);
    read_back();
  }
  std::optional<model::OpenedModel> model_;
};

TEST_F(ReadBack, NoticesAFlippedNibbleScaleFloatAndBias) {
  read_back();
  expect_seen("blk.0.attn_q.weight", 2, {"blk.0.attn_q.weight", "row 0", "integers and scales"});
  expect_seen("blk.1.ffn_down.weight", 54 + 18 + 17,
              {"blk.1.ffn_down.weight", "row 1"});                          // three blocks a row
  expect_seen("blk.1.ffn_up.weight", 0, {"blk.1.ffn_up.weight", "row 0"});  // the scale
  expect_seen("token_embd.weight", 64 * 4 * 3, {"token_embd.weight", "row 3", "values"});
  expect_seen("output_norm.weight", 8, {"output_norm.weight"});
  expect_seen("blk.0.attn_k.bias", 8, {"blk.0.attn_k.bias"});
  expect_seen("rope_freqs.weight", 0, {"rope_freqs.weight"});
}

TEST_F(ReadBack, NoticesTheSignOfZero) {
  model_->decoder->norm().weight[0] = 0.0F;
  run(*model_, {.matrices = "f32"});
  read_back({.matrices = "f32"});
  flip("output_norm.weight", 3, std::byte{0x80});
  expect_error<Error>([&] { read_back({.matrices = "f32"}); }, {"output_norm.weight"});
}

TEST_F(ReadBack, NoticesACodeUnderAScaleOfZero) {
  auto weight = fixtures::random_integers(96, 64, 4, "channel", 5);
  weight.scale.zero_();
  model_->decoder->find_linear("model.layers.0.mlp.up_proj")
      ->set_weight(std::make_shared<quant::IntegerWeight>("up", weight));
  run(*model_);
  expect_seen("blk.0.ffn_up.weight", 5, {"blk.0.ffn_up.weight", "integers and scales"});
}

TEST_F(ReadBack, NoticesAnotherModelsFile) {
  model_.emplace(fixtures::open_with_integers(float_model(fixtures::full_config()), 3, "group:32"));
  expect_error<Error>([&] { read_back(); }, {"differs"});
  model_.emplace(fixtures::open_with_integers(float_model(fixtures::small_config()), 4, "group:32"));
  expect_error<Error>([&] { read_back(); }, {"tensors, expected"});
}

// ---- refusals

TEST_F(GgufExport, RefusesScalesThatAreNotFloat16) {
  for (const float scale : {0.1F, 1e-9F, 1e6F}) {
    auto model = fixtures::open_with_integers(float_model(fixtures::small_config()), 4, "channel");
    auto weight = fixtures::random_integers(96, 64, 4, "channel", 5);
    weight.scale[7] = scale;
    model.decoder->find_linear("model.layers.1.mlp.up_proj")
        ->set_weight(std::make_shared<quant::IntegerWeight>("up", weight));
    expect_error<Error>([&] { run(model); },
                        {"model.layers.1.mlp.up_proj", "float16", "`scale-type` float16", "lrqat convert"});
    expect_no_file();
    EXPECT_EQ(run(model, {.matrices = "f32"}).tensors, 21);  // float32 holds them
    fs::remove(out_);
  }
}

TEST_F(GgufExport, RefusesScalesThatAreNotFinite) {
  for (const float scale :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    auto model = fixtures::open_with_integers(float_model(fixtures::small_config()), 4, "channel");
    auto weight = fixtures::random_integers(96, 64, 4, "channel", 5);
    weight.scale[7] = scale;
    model.decoder->find_linear("model.layers.1.mlp.up_proj")
        ->set_weight(std::make_shared<quant::IntegerWeight>("up", weight));
    for (const char* format : {"gguf", "hf", "gptq", "compressed-tensors"}) {
      expect_error<Error>([&] { export_model(find_exporter(format), model, out_, {}, progress_); },
                          {"model.layers.1.mlp.up_proj", "not finite"});
    }
    expect_error<Error>([&] { model::save_converted(*model.decoder, *model.source, out_); },
                        {"model.layers.1.mlp.up_proj", "not finite"});
    expect_no_file();
  }
}

TEST_F(GgufExport, RefusesGroupsThatAreNotWholeBlocks) {
  const auto model = fixtures::open_with_integers(float_model(fixtures::small_config()), 4, "group:16");
  expect_error<Error>([&] { run(model); },
                      {"model.layers.0.self_attn.q_proj", "groups of 16", "32", "lrqat convert"});
  expect_no_file();
}

TEST_F(GgufExport, RefusesRowsThatAreNotWholeBlocks) {
  const auto model = fixtures::open_with_integers(fixtures::model_data("biases"), 4, "channel");
  expect_error<Error>([&] { run(model); },
                      {"model.layers.0.self_attn.o_proj", "in_features 48", "32", "lrqat convert"});
  EXPECT_EQ(run(model, {.matrices = "f32"}).warnings.size(), 1U);  // of the tokenizer
}

TEST_F(GgufExport, RefusesWideCodesInNarrowBlocks) {
  const auto model = fixtures::open_with_integers(float_model(fixtures::small_config()), 8, "channel");
  expect_error<Error>([&] { run(model, {.linear_type = "q4_0"}); },
                      {"model.layers.0.self_attn.q_proj", "8-bit", "Q4_0", "q8_0"});
  expect_no_file();
}

TEST_F(GgufExport, RefusesUnknownOptions) {
  const auto model = fixtures::open_with_integers(float_model(fixtures::small_config()), 4, "channel");
  expect_error<UsageError>([&] { run(model, {.linear_type = "q5_1"}); }, {"`linear-type`", "q5_1", "q8_0"});
  expect_error<UsageError>([&] { run(model, {.rest_type = "q4_0"}); }, {"`rest-type`", "q4_0", "bf16"});
  expect_error<UsageError>([&] { run(model, {.matrices = "f64"}); }, {"`matrices`", "f64"});
  expect_error<UsageError>([&] { find_exporter("onnx"); }, {"`format`", "onnx", "gguf"});
  expect_no_file();
}

TEST_F(GgufExport, RefusesTargetsThatAreNoFile) {
  const auto model = fixtures::open_with_integers(float_model(fixtures::small_config()), 4, "channel");
  out_ = folder_.path() / "folder";
  fs::create_directory(out_);
  expect_error<Error>([&] { run(model); }, {"is a folder", "model.gguf"});
  out_ = folder_.path();  // where the model lies
  expect_error<Error>([&] { run(model); }, {"never replaced"});
  out_ = folder_.path() / "nowhere" / "m.gguf";
  expect_error<Error>([&] { run(model); }, {"nowhere"});
}

TEST_F(GgufExport, RefusesAConvertedFolderThatWasChanged) {
  const auto model = fixtures::open_with_integers(float_model(fixtures::small_config()), 4, "channel");
  const fs::path converted = folder_.path() / "converted";
  model::save_converted(*model.decoder, *model.source, converted);
  Json json = read_json_file(converted / "config.json");
  json["quantization_config"]["sha256"] = std::string(64, '0');
  write_text_file(converted / "config.json", json.dump());
  expect_error<Error>([&] { run(model::open_model(converted)); }, {"sha256", "lrqat convert"});
  expect_no_file();
}

}  // namespace
}  // namespace lrqat::exporting
