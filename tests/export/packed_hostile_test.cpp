// Folders of compressed-tensors, GPTQ and AWQ that are not what they say: each has its message, naming file
// and tensor or key. And what other writers do differently is read.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>

#include "lrqat/base/error.h"
#include "lrqat/export/compare.h"
#include "lrqat/export/exporter.h"
#include "lrqat/formats/safetensors.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
namespace fixtures = model::testing;
using formats::DType;
using quant::testing::expect_error;

struct Stored {
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};
using Tensors = std::map<std::string, Stored>;

const std::string kLinear = "model.layers.0.mlp.up_proj";

class PackedFolder : public ::testing::Test {
 protected:
  // A fresh export, changed.
  fs::path folder(const std::string& format, const std::function<void(Json&)>& change_config,
                  const std::function<void(Tensors&)>& change_tensors) {
    const fs::path out = folder_.path() / ("out" + std::to_string(++count_));
    export_model(find_exporter(format), *model_, out, {}, progress_);
    Json config = read_json_file(out / "config.json");
    change_config(config);
    write_text_file(out / "config.json", config.dump());
    Tensors tensors = read(out);
    change_tensors(tensors);
    write(out, tensors);
    return out;
  }

  void expect_refused(const std::string& format, const std::function<void(Json&)>& change,
                      const std::vector<std::string>& parts) {
    const fs::path path = folder(
        format, [&](Json& json) { change(json["quantization_config"]); }, [](Tensors&) {});
    SCOPED_TRACE(format);
    expect_error<Error>([&] { model::open_model(path); }, parts);
  }

  void expect_bad_tensors(const std::string& format, const std::function<void(Tensors&)>& change,
                          const std::vector<std::string>& parts) {
    const fs::path path = folder(
        format, [](Json&) {}, change);
    SCOPED_TRACE(format);
    expect_error<Error>([&] { model::open_model(path); }, parts);
  }

  bool is_same(const fs::path& path) {
    const auto back = model::open_model(path);
    return compare_models(*model_->decoder, *back.decoder, progress_).differing.empty();
  }

  void SetUp() override {
    const auto source = fixtures::write_random_model(folder_.path() / "float", fixtures::small_config());
    model_.emplace(fixtures::open_with_integers(source, 4, "group:32"));
  }

  static Tensors read(const fs::path& path) {
    Tensors tensors;
    const formats::SafetensorsFile file(path / "model.safetensors");
    for (const auto& view : file.tensors()) {
      tensors[view.name] = {view.dtype, view.shape, {view.data.begin(), view.data.end()}};
    }
    return tensors;
  }

  static void write(const fs::path& path, const Tensors& tensors) {
    std::vector<formats::TensorDeclaration> declared;
    for (const auto& [name, tensor] : tensors) declared.push_back({name, tensor.dtype, tensor.shape});
    formats::SafetensorsWriter writer(path / "model.safetensors", declared);
    for (const auto& [name, tensor] : tensors) writer.write(name, tensor.data);
    writer.finish();
  }

  const at::NoGradGuard no_grad_;
  const fixtures::TemporaryFolder folder_;
  SilentProgress progress_;
  std::optional<model::OpenedModel> model_;
  int count_ = 0;
};

void set_word(Stored& tensor, std::size_t index, std::int32_t value) {
  std::memcpy(tensor.data.data() + 4 * index, &value, sizeof value);
}

TEST_F(PackedFolder, ConfigsThatAreNotSupportedAreNamed) {
  expect_refused("gptq", [](Json& json) { json["bits"] = 9; }, {"config.json", "9-bit"});
  expect_refused("gptq", [](Json& json) { json.erase("bits"); }, {"config.json", "\"bits\" is missing"});
  expect_refused("gptq", [](Json& json) { json["group_size"] = 0; }, {"group_size is 0"});
  expect_refused("gptq", [](Json& json) { json["checkpoint_format"] = "marlin"; }, {"marlin", "gptq_v2"});
  expect_refused("awq", [](Json& json) { json["version"] = "gemv"; }, {"gemv", "gemm"});
  expect_refused("awq", [](Json& json) { json["bits"] = 3; }, {"3-bit", "awq"});
  const auto weights = [](Json& json) -> Json& { return json["config_groups"]["group_0"]["weights"]; };
  const std::string ct = "compressed-tensors";
  expect_refused(ct, [](Json& json) { json["format"] = "float-quantized"; },
                 {"float-quantized", "pack-quantized"});
  expect_refused(ct, [&](Json& json) { weights(json)["type"] = "float"; }, {"group_0", "float"});
  expect_refused(ct, [&](Json& json) { weights(json)["strategy"] = "tensor"; },
                 {"tensor", "channel and group"});
  expect_refused(ct, [&](Json& json) { weights(json)["actorder"] = "group"; }, {"actorder"});
  expect_refused(ct,
                 [](Json& json) {
                   json["config_groups"]["group_0"]["input_activations"] = Json{{"num_bits", 8}};
                 },
                 {"group_0", "activations"});
  expect_refused(ct, [](Json& json) { json["config_groups"] = Json::object(); }, {"no group"});
  expect_refused(ct, [](Json& json) { json["config_groups"]["group_0"]["targets"] = {"re:.*q_proj"}; },
                 {"_proj", "no group"});
  const auto expect_pattern_refused = [&](const std::string& pattern, const std::string& words) {
    expect_refused(ct, [&](Json& json) { json["config_groups"]["group_0"]["targets"] = {"re:" + pattern}; },
                   {"quantization_config", words});
  };
  expect_pattern_refused("(", "regular expression");
  expect_pattern_refused(std::string(100'000, '(') + std::string(100'000, ')'), "regular expression");
  expect_pattern_refused(std::string(1'000'000, 'x'), "");
  expect_pattern_refused("(.*)*(.*)*(.*)*x$", "");  // at once, however many ways there are to match
  for (const int size : {0, -1, -128})
    expect_refused(ct, [&](Json& json) { weights(json)["group_size"] = size; }, {"group_0", "group_size is"});
  expect_refused("gptq", [](Json& json) { json["quant_method"] = "hqq"; },
                 {"quantization_config", "hqq", "compressed-tensors, gptq, awq or auto-round"});
}

TEST_F(PackedFolder, TensorsThatAreWrongAreNamed) {
  for (const auto& [format, suffix] :
       {std::pair{"compressed-tensors", ".weight_packed"}, {"gptq", ".qweight"}, {"awq", ".qweight"}}) {
    const std::string name = kLinear + suffix;
    expect_bad_tensors(format, [&](Tensors& all) { all.erase(name); }, {"up_proj"});
    expect_bad_tensors(format, [&](Tensors& all) { all[name].dtype = DType::F32; }, {name, "F32", "I32"});
    expect_bad_tensors(format, [&](Tensors& all) { std::swap(all[name].shape[0], all[name].shape[1]); },
                       {name, "shape"});
  }
  expect_bad_tensors("gptq", [](Tensors& all) { set_word(all[kLinear + ".g_idx"], 0, 1); },
                     {kLinear, "g_idx", "act-order"});
  expect_bad_tensors("gptq", [](Tensors& all) { set_word(all[kLinear + ".qzeros"], 0, -1); },
                     {kLinear, "qzeros", "gptq_v2"});
  const std::uint16_t infinity = 0x7c00;
  for (const auto& [format, suffix] :
       {std::pair{"compressed-tensors", ".weight_scale"}, {"awq", ".scales"}}) {
    expect_bad_tensors(
        format,
        [&](Tensors& all) { std::memcpy(all[kLinear + suffix].data.data(), &infinity, sizeof infinity); },
        {kLinear + suffix, "not finite"});
  }
  expect_bad_tensors(
      "awq", [](Tensors& all) { all["model.layers.7.mlp.up_proj.qweight"] = all[kLinear + ".qweight"]; },
      {"model.layers.7.mlp.up_proj.qweight", "no place"});
  expect_bad_tensors(
      "gptq", [](Tensors& all) { all[kLinear + ".bias"] = all["model.layers.0.input_layernorm.weight"]; },
      {kLinear + ".bias"});
}

TEST_F(PackedFolder, WhatOtherWritersDoDifferentlyIsRead) {
  const auto keep = [](Tensors&) {};
  // Patterns and module names as targets, keys that are left out, biases of zeros, old buffers.
  EXPECT_TRUE(is_same(folder(
      "compressed-tensors",
      [](Json& json) {
        json["quantization_config"]["config_groups"]["group_0"]["targets"] = {"re:model\\.layers\\..*_proj$"};
      },
      keep)));
  EXPECT_TRUE(is_same(folder(
      "gptq",
      [](Json& json) {
        for (const char* key : {"checkpoint_format", "sym", "desc_act", "lm_head", "pack_dtype"}) {
          json["quantization_config"].erase(key);
        }
      },
      [](Tensors& all) {
        all[kLinear + ".bias"] = {DType::F16, {96}, std::vector<std::byte>(2 * 96)};
        all["model.layers.0.self_attn.rotary_emb.inv_freq"] = {DType::F32, {8}, std::vector<std::byte>(32)};
      })));
  EXPECT_TRUE(is_same(folder(
      "awq", [](Json& json) { json["quantization_config"]["version"] = "GEMM"; }, keep)));
  // The control: another number of the weights is another model.
  EXPECT_FALSE(is_same(folder(
      "awq", [](Json&) {}, [](Tensors& all) { set_word(all[kLinear + ".qweight"], 3, 0); })));
}

}  // namespace
}  // namespace lrqat::exporting
