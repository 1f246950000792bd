// Every format with every grid, on a random model: either every tensor comes back bit for bit, or the export
// is refused with a message that names the formats that do hold the grid. docs/formats.md has the same
// matrix.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "lrqat/base/error.h"
#include "lrqat/export/compare.h"
#include "lrqat/export/exporter.h"
#include "lrqat/formats/gguf.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
namespace fixtures = model::testing;

// Rows of 512 and 256: whole blocks and groups of every size.
formats::ModelConfig wide_config() {
  formats::ModelConfig config = fixtures::small_config();
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 64;
  return config;
}

class Matrix : public ::testing::Test {
 protected:
  model::OpenedModel with_grid(int num_bits, const std::string& granularity, bool asymmetric) {
    if (!fs::exists(source_)) fixtures::write_random_model(source_, wide_config());
    auto model = fixtures::open_with_integers(source_, num_bits, granularity);
    for (nn::Linear* linear : model.decoder->linears()) {
      auto weight = linear->weight()->convert();
      if (asymmetric) weight.zero_point = zero_points(weight.scale.sizes());
      linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), weight));
    }
    return model;
  }

  // -1 or 0 in turns, a grid that some scales move by one.
  static at::Tensor zero_points(at::IntArrayRef sizes) {
    at::Tensor zero = at::arange(sizes[0] * sizes[1], at::kInt).remainder(2).sub(1);
    return zero.view(sizes).to(at::kChar);
  }

  // "yes", the GGUF type, or "no".
  std::string cell(const Exporter& exporter, const model::OpenedModel& model) {
    const fs::path out = folder_.path() / (exporter.name + std::to_string(++count_));
    try {
      const ExportReport report = export_model(exporter, model, out, {.rest_type = "keep"}, progress_);
      EXPECT_EQ(report.bit_exact_tensors, report.tensors) << exporter.name;
      EXPECT_EQ(report.largest_change, 0) << exporter.name;
      expect_same(model, out, exporter.name);
      if (exporter.name != "gguf") return "yes";
      return std::string(formats::ggml_type_name(formats::GgufFile(out).at("blk.0.ffn_up.weight").type));
    } catch (const Error& error) {
      refusals_.emplace(exporter.name, error.what());
      EXPECT_FALSE(fs::exists(out)) << exporter.name;
      return "no";
    }
  }

  void expect_same(const model::OpenedModel& model, const fs::path& out, const std::string& format) {
    const model::OpenedModel back = model::open_model(out);
    const Comparison comparison = compare_models(*model.decoder, *back.decoder, progress_);
    EXPECT_TRUE(comparison.differing.empty()) << format << ": " << comparison.differing.front().name;
    EXPECT_EQ(comparison.tensors, 12);
  }

  // A refusal names the layer, and of the formats exactly those whose cells are not "no".
  void expect_names_the_others(const std::vector<std::string>& cells) {
    for (const auto& [format, message] : refusals_) {
      EXPECT_NE(message.find("model.layers.0.self_attn.q_proj: "), std::string::npos) << message;
      const auto list = message.find("formats that hold this model exactly: ");
      ASSERT_NE(list, std::string::npos) << message;
      std::string expected;
      for (std::size_t i = 0; i < cells.size(); ++i) {
        if (cells[i] != "no") expected += exporters()[i].name + ", ";
      }
      EXPECT_NE(message.find(expected + "and the converted folder", list), std::string::npos) << message;
    }
    refusals_.clear();
  }

  const at::NoGradGuard no_grad_;
  const fixtures::TemporaryFolder folder_;
  const fs::path source_ = folder_.path() / "float";
  SilentProgress progress_;
  std::map<std::string, std::string> refusals_;
  int count_ = 0;
};

std::string table_row(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (const std::string& cell : cells) row += " " + cell + " |";
  return row;
}

std::string documented_matrix() {
  std::ifstream file(fs::path(LRQAT_TEST_DATA) / ".." / ".." / "docs" / "formats.md");
  std::string line, table;
  bool inside = false;
  while (std::getline(file, line)) {
    inside = inside || line.starts_with("| grid | gguf |");
    if (inside && !line.starts_with("|")) break;
    if (inside) table += line + "\n";
  }
  return table;
}

TEST_F(Matrix, EveryCellIsExactOrRefusedAsDocumented) {
  std::vector<std::string> header{"grid"};
  for (const Exporter& exporter : exporters()) header.push_back(exporter.name);
  std::string table = table_row(header) + "\n|";
  for (std::size_t i = 0; i < header.size(); ++i) table += " --- |";
  table += "\n";
  for (const bool asymmetric : {false, true}) {
    for (const int num_bits : {2, 3, 4, 8}) {
      if (asymmetric && num_bits == 8) continue;  // codes up to 128 are no signed bytes
      for (const char* granularity :
           {"tensor", "channel", "group:256", "group:128", "group:64", "group:32", "group:16"}) {
        SCOPED_TRACE(concat(num_bits, " ", granularity));
        const auto model = with_grid(num_bits, granularity, asymmetric);
        std::vector<std::string> cells;
        for (const Exporter& exporter : exporters()) cells.push_back(cell(exporter, model));
        expect_names_the_others(cells);
        cells.insert(cells.begin(),
                     concat("W", num_bits, asymmetric ? " with zero point, " : " ", granularity));
        table += table_row(cells) + "\n";
      }
    }
  }
  EXPECT_EQ(documented_matrix(), table) << "docs/formats.md has another matrix; the one found:\n" << table;
}

TEST_F(Matrix, AZeroPointOfNothingNeedsTheSecondVersionOfGptq) {
  auto model = with_grid(4, "group:32", false);
  for (nn::Linear* linear : model.decoder->linears()) {
    auto weight = linear->weight()->convert();
    weight.zero_point = at::full(weight.scale.sizes(), -8, at::kChar);
    linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), weight));
  }
  EXPECT_EQ(cell(find_exporter("gptq"), model), "no");
  EXPECT_NE(refusals_.at("gptq").find("zero point of 0"), std::string::npos) << refusals_.at("gptq");
  EXPECT_EQ(cell(find_exporter("gptq-v2"), model), "yes");
  EXPECT_EQ(cell(find_exporter("awq"), model), "yes");
  EXPECT_EQ(cell(find_exporter("compressed-tensors"), model), "yes");
}

TEST_F(Matrix, AFloatOffsetIsHeldByFloatsOnly) {
  auto model = with_grid(4, "group:32", false);
  nn::Linear* linear = model.decoder->linears()[0];
  auto weight = linear->weight()->convert();
  weight.offset = at::full(weight.scale.sizes(), 0.25F);
  linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), weight));
  for (const Exporter& exporter : exporters()) {
    EXPECT_EQ(cell(exporter, model), exporter.name == "hf" ? "yes" : "no") << exporter.name;
  }
  for (const auto& [format, message] : refusals_) {
    EXPECT_NE(message.find("learned float offset"), std::string::npos) << message;
    EXPECT_NE(message.find("formats that hold this model exactly: hf, and"), std::string::npos) << message;
  }
}

// Scales that are no float16 numbers: refused, or rounded with the change reported.
TEST_F(Matrix, ScalesAreRoundedOnlyWhenAsked) {
  for (const char* format : {"gguf", "compressed-tensors", "gptq", "awq"}) {
    auto model = with_grid(4, "group:32", false);
    nn::Linear* linear = model.decoder->linears()[2];
    auto weight = linear->weight()->convert();
    weight.scale[3][1] = 0.1F;  // float16 has 0.0999755859375
    weight.weight_int[3].fill_(-8);
    linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), weight));
    const fs::path out = folder_.path() / (std::string("rounded-") + format);
    const bool takes_float32 = format == std::string("compressed-tensors");
    EXPECT_EQ(cell(find_exporter(format), model) == "no", !takes_float32) << format;
    const ExportReport report = export_model(find_exporter(format), model, out,
                                             {.rest_type = "keep", .allow_inexact = true}, progress_);
    EXPECT_EQ(report.bit_exact_tensors, report.tensors) << format;  // of the rounded model
    EXPECT_NEAR(report.largest_change, takes_float32 ? 0.0 : 8 * (0.1 - 0.0999755859375), 1e-7) << format;
    refusals_.clear();
  }
}

TEST_F(Matrix, FloatFoldersAreExactInTheirTypeOrRefused) {
  const auto model = with_grid(4, "group:32", false);
  const auto& hf = find_exporter("hf");
  const fs::path out = folder_.path() / "floats";
  const auto refused = [&](const std::string& dtype) {
    try {
      export_model(hf, model, out, {.dtype = dtype}, progress_);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refused("float16").find("`dtype` float32 holds this model exactly"), std::string::npos);
  EXPECT_NE(refused("bfloat16").find("is not exact in bfloat16"), std::string::npos);
  EXPECT_NE(refused("float8").find("use auto, float16, bfloat16 or float32"), std::string::npos);
  EXPECT_FALSE(fs::exists(out));
  const auto rounded = export_model(hf, model, out, {.dtype = "float16", .allow_inexact = true}, progress_);
  EXPECT_LT(rounded.bit_exact_tensors, rounded.tensors);
  EXPECT_GT(rounded.largest_change, 0);
  EXPECT_LT(rounded.largest_change, 1e-3);  // half a unit of float16 below 1: 2.4e-4
  EXPECT_EQ(read_json_file(out / "config.json").at("dtype"), "float16");
}

TEST_F(Matrix, FoldersOfOtherThingsAreNotReplaced) {
  const auto model = with_grid(4, "group:32", false);
  const auto& gptq = find_exporter("gptq");
  EXPECT_THROW(export_model(gptq, model, source_, {}, progress_), Error);
  EXPECT_TRUE(fs::exists(source_ / "model.safetensors"));
  const fs::path out = folder_.path() / "gptq";
  export_model(gptq, model, out, {}, progress_);
  export_model(find_exporter("awq"), model, out, {}, progress_);
  EXPECT_EQ(read_json_file(out / "config.json").at("quantization_config").at("quant_method"), "awq");
}

// The control: one code, one scale, one norm changed are each seen.
TEST_F(Matrix, TheComparisonSeesOneChange) {
  const auto model = with_grid(4, "group:32", false);
  const auto differing = [&](model::OpenedModel& other) {
    std::vector<std::string> names;
    for (const auto& difference : compare_models(*model.decoder, *other.decoder, progress_).differing) {
      names.push_back(difference.name);
    }
    return names;
  };
  auto other = with_grid(4, "group:32", false);
  EXPECT_TRUE(differing(other).empty());
  nn::Linear* linear = other.decoder->linears()[3];
  auto weight = linear->weight()->convert();
  weight.weight_int[7][9] = weight.weight_int[7][9].item<int>() == 0 ? 1 : 0;
  linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), weight));
  EXPECT_EQ(differing(other), std::vector<std::string>{linear->name() + ".weight"});
  weight = model.decoder->linears()[3]->weight()->convert();
  weight.scale[7][2] *= 2;
  linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), weight));
  EXPECT_EQ(differing(other), std::vector<std::string>{linear->name() + ".weight"});
  other = with_grid(4, "group:32", false);
  other.decoder->norm().weight[5] += 1;
  EXPECT_EQ(differing(other), std::vector<std::string>{"model.norm.weight"});
}

}  // namespace
}  // namespace lrqat::exporting
