// Weights in training, exported without a detour: every downcast, width and granularity, with adapters that
// moved codes and scales that training left between float16 numbers.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/export/exporter.h"
#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/model/converted.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;
using quant::Downcast;

class TrainedExport : public ::testing::Test {
 protected:
  // The float model with LR-QAT weights; `move` is the size of random changes to the parameters.
  model::OpenedModel in_training(const methods::LrQatOptions& options, double move) {
    model::OpenedModel model = model::open_model(source_);
    const auto estimator = quant::RangeEstimator::parse("minmax");
    at::manual_seed(4);
    model::prepare(*model.decoder, *model.source, [&](const std::string& name, const at::Tensor& weight) {
      auto made = methods::LrQatWeight::prepare(name, weight, options, estimator, 1);
      for (const quant::Parameter& parameter : made->parameters()) {
        const bool is_scale = parameter.kind == quant::ParameterKind::scale;
        const at::Tensor noise = at::randn_like(parameter.value) * move;
        at::Tensor value = parameter.value.detach();
        is_scale ? value.mul_(1.0 + 0.1 * noise) : value.add_(noise);
      }
      return made;
    });
    return model;
  }

  const at::NoGradGuard no_grad_;
  const model::testing::TemporaryFolder folder_;
  const fs::path source_ =
      model::testing::write_random_model(folder_.path() / "float", model::testing::small_config());
  const fs::path out_ = folder_.path() / "m.gguf";
  SilentProgress progress_;
};

void expect_products(const fs::path& file, const model::Decoder& decoder) {
  const auto source = formats::open_weight_source(file);
  for (const nn::Linear* linear : decoder.linears()) {
    const at::Tensor found = model::read_tensor(*source, linear->name() + ".weight");
    EXPECT_TRUE(at::equal(found, model::testing::product(linear->weight()->convert()))) << linear->name();
  }
}

TEST_F(TrainedExport, HoldsEveryDowncastWidthAndGranularity) {
  for (const Downcast downcast : {Downcast::float32, Downcast::bfloat16, Downcast::float16,
                                  Downcast::fixed_point8, Downcast::int4, Downcast::integer}) {
    for (const int num_bits : {2, 3, 4, 8}) {
      if (downcast == Downcast::int4 && num_bits > 4) continue;
      for (const char* granularity : {"tensor", "channel", "group:32"}) {
        SCOPED_TRACE(concat(quant::downcast_name(downcast), " ", num_bits, " ", granularity));
        const auto model = in_training({.grid = quant::Grid::signed_symmetric(num_bits),
                                        .granularity = quant::Granularity::parse(granularity),
                                        .downcast = downcast,
                                        .rank = 4,
                                        .lora_alpha = 4},
                                       0.5);
        const auto before = model::summarize(*model.decoder).sha256;
        const ExportReport report =
            export_model(find_exporter("gguf"), model, out_, {.rest_type = "keep"}, progress_);
        EXPECT_EQ(report.bit_exact_tensors, report.tensors);
        expect_products(out_, *model.decoder);
        const fs::path converted = folder_.path() / "converted";
        EXPECT_EQ(model::save_converted(*model.decoder, *model.source, converted, true).sha256, before);
        expect_products(out_, *model::load_converted(converted));
      }
    }
  }
}

// The control for "moved codes": the parameters do change what is exported.
TEST_F(TrainedExport, DependsOnTheParameters) {
  const methods::LrQatOptions options{.rank = 4, .lora_alpha = 4};
  const auto still = in_training(options, 0.0), moved = in_training(options, 0.5);
  EXPECT_NE(model::summarize(*still.decoder).sha256, model::summarize(*moved.decoder).sha256);
  export_model(find_exporter("gguf"), moved, out_, {.rest_type = "keep"}, progress_);
  const auto source = formats::open_weight_source(out_);
  const std::string name = "model.layers.0.mlp.up_proj";
  EXPECT_FALSE(at::equal(model::read_tensor(*source, name + ".weight"),
                         model::testing::product(still.decoder->find_linear(name)->weight()->convert())));
}

TEST_F(TrainedExport, RefusesScalesTrainedInAnotherType) {
  for (const auto type : {quant::ScaleType::float32, quant::ScaleType::bfloat16}) {
    methods::LrQatOptions options{.rank = 4};
    options.scale.type = type;
    const auto model = in_training(options, 0.5);
    // bfloat16 numbers of the size of these scales lie between float16 ones only where they are subnormal.
    if (type == quant::ScaleType::bfloat16) {
      export_model(find_exporter("gguf"), model, out_, {.rest_type = "keep"}, progress_);
      expect_products(out_, *model.decoder);
      continue;
    }
    quant::testing::expect_error<Error>(
        [&] { export_model(find_exporter("gguf"), model, out_, {.rest_type = "keep"}, progress_); },
        {"model.layers.0.self_attn.q_proj", "float16", "`scale-type` float16"});
    EXPECT_FALSE(fs::exists(out_));
  }
}

}  // namespace
}  // namespace lrqat::exporting
