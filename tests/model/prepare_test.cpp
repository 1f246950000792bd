#include "lrqat/model/prepare.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/base/half.h"
#include "lrqat/base/memory.h"
#include "lrqat/base/random.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/model/load.h"
#include "lrqat/quant/float_weight.h"
#include "tests/model/fixtures.h"

namespace lrqat::model {
namespace {

using testing::model_data;

methods::LrQatOptions lr_qat_options() {
  return {.grid = quant::Grid::signed_symmetric(4),
          .granularity = {quant::Granularity::Kind::channel, 0},
          .rank = 4};
}

TEST(Prepare, GivesEveryLinearItsOwnFloatWeight) {
  const SharedSource source(formats::open_weight_source(model_data("biases")));
  const auto decoder = load_float_model(source);
  const auto original = load_float_model(source);
  std::vector<std::string> names;
  prepare(*decoder, *source, [&](const std::string& name, at::Tensor weight) {
    names.push_back(name);
    const at::Tensor expected =
        original->find_linear(name)->weight()->make_tile(0, weight.size(0), ops::ComputeType::float32).values;
    EXPECT_TRUE(at::equal(weight, expected)) << name;
    weight.fill_(0.5);  // the tensor is the factory's own: the file and the other model do not see this
    return std::make_shared<quant::FloatWeight>(weight);
  });
  ASSERT_EQ(names.size(), decoder->linears().size());
  for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(names[i], decoder->linears()[i]->name());
  const auto tile = [](const Decoder& model) {
    return model.linears()[3]->weight()->make_tile(0, 4, ops::ComputeType::float32).values;
  };
  EXPECT_TRUE(tile(*decoder).eq(0.5).all().item<bool>());
  EXPECT_FALSE(tile(*original).eq(0.5).any().item<bool>());
}

TEST(Prepare, ParametersCarryTheirFullNames) {
  const SharedSource source(formats::open_weight_source(model_data("biases")));
  const auto decoder = load_float_model(source);
  const quant::RangeEstimator estimator;
  prepare(*decoder, *source, [&](const std::string& name, const at::Tensor& weight) {
    return methods::LrQatWeight::prepare(name, weight, lr_qat_options(), estimator, 1);
  });
  const auto parameters = decoder->parameters();
  ASSERT_EQ(parameters.size(), 3 * decoder->linears().size());
  EXPECT_EQ(parameters[0].name, "model.layers.0.self_attn.q_proj.lora_a");
  EXPECT_EQ(parameters[5].name, "model.layers.0.self_attn.k_proj.scale");
  EXPECT_EQ(decoder->layer(1).parameters()[0].name, "model.layers.1.self_attn.q_proj.lora_a");
}

// 12 layers of 45 million weights in bfloat16, a little over 1 GB, random.
formats::ModelConfig large_config() {
  formats::ModelConfig config;
  config.hidden_size = 2048;
  config.intermediate_size = 5632;
  config.num_hidden_layers = 12;
  config.num_attention_heads = 32;
  config.num_key_value_heads = 8;
  config.head_dim = 64;
  config.vocab_size = 256;
  config.tie_word_embeddings = true;
  return config;
}

std::int64_t elements(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

void write_large_model(const std::filesystem::path& folder, const formats::ModelConfig& config) {
  std::vector<formats::TensorDeclaration> declarations;
  std::int64_t largest = 0;
  for (const auto& tensor : formats::expected_tensors(config)) {
    declarations.push_back({tensor.name, formats::DType::BF16, tensor.shape});
    largest = std::max(largest, elements(tensor.shape));
  }
  std::vector<std::uint16_t> values(static_cast<std::size_t>(largest));
  Random random(5);
  for (auto& value : values) value = float_to_bfloat16(static_cast<float>(random.uniform() - 0.5) * 0.1F);
  formats::ShardedSafetensorsWriter writer(folder, declarations, {}, 400'000'000);
  for (const auto& declaration : declarations) {
    const auto count = static_cast<std::size_t>(elements(declaration.shape));
    writer.write(declaration.name, std::as_bytes(std::span(values).first(count)));
  }
  writer.finish();
  write_text_file(folder / "config.json", formats::config_to_json(config).dump());
}

// What part of the file's pages the resident set may hold is decided by release(): nothing but the layer at
// hand.
TEST(Prepare, MemoryIsThePreparedModelAndOneLayer) {
  testing::TemporaryFolder folder;
  const formats::ModelConfig config = large_config();
  write_large_model(folder.path(), config);
  std::uintmax_t file_bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    file_bytes += entry.file_size();
  ASSERT_GE(file_bytes, 1'000'000'000U);

  reset_peak_resident();
  const std::int64_t before = current_resident_bytes();
  const SharedSource source(formats::open_weight_source(folder.path()));
  const auto decoder = load_float_model(source);
  const std::int64_t loaded = peak_resident_bytes() - before;
  EXPECT_LT(loaded, 16 << 20) << "loading maps the file and copies the norms";

  const quant::RangeEstimator estimator;
  prepare(*decoder, *source, [&](const std::string& name, const at::Tensor& weight) {
    return methods::LrQatWeight::prepare(name, weight, lr_qat_options(), estimator, 1);
  });
  std::int64_t prepared = 0;
  for (const nn::Linear* linear : decoder->linears()) prepared += linear->weight()->resident_bytes();
  std::int64_t layer_in_float = 0;  // one decoder layer
  for (const nn::Linear* linear : decoder->layer(0).linears()) {
    layer_in_float += 4 * linear->in_features() * linear->out_features();
  }
  const std::int64_t peak = peak_resident_bytes() - before;
  RecordProperty("peak", std::to_string(peak));
  const std::string figures = concat("file ", file_bytes, ", prepared ", prepared, ", largest layer ",
                                     layer_in_float, ", peak ", peak, ", loaded ", loaded);
  EXPECT_GT(prepared, 500'000'000) << "one byte a weight";
  EXPECT_LT(peak, prepared + layer_in_float) << figures;
  EXPECT_GT(peak, prepared) << "negative control, the prepared model itself is counted: " << figures;
}

}  // namespace
}  // namespace lrqat::model
