// The converted folder of shifted grids: whole zero points and float offsets beside integers and scales.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/open.h"
#include "lrqat/model/prepare.h"
#include "lrqat/quant/integer_weight.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"
#include "tests/quant/expect_error.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;
using quant::testing::expect_error;

// A small model whose linears lie on asymmetric grids; with float offsets too where asked for.
class ConvertedShift : public ::testing::Test {
 protected:
  OpenedModel shifted(int num_bits, const std::string& granularity, bool offset) {
    OpenedModel model = open_model(source_);
    at::manual_seed(2);
    prepare(*model.decoder, *model.source, [&](const std::string& name, const at::Tensor& weight) {
      const quant::QuantSpec spec{.grid = quant::Grid::signed_symmetric(num_bits),
                                  .granularity = quant::Granularity::parse(granularity),
                                  .symmetric = false};
      auto q = quant::round_to_nearest(name, weight + 0.02, spec);
      if (offset) q.offset = at::randn_like(q.scale) * 0.01;
      return std::make_shared<quant::IntegerWeight>(name, q);
    });
    return model;
  }

  const at::NoGradGuard no_grad_;
  const testing::TemporaryFolder folder_;
  const fs::path source_ = testing::write_random_model(folder_.path() / "float", testing::small_config());
  const fs::path out_ = folder_.path() / "converted";
};

TEST_F(ConvertedShift, HoldsZeroPointsAndOffsets) {
  std::string last;
  for (const int num_bits : {2, 4, 8}) {
    for (const char* granularity : {"tensor", "channel", "group:16"}) {
      for (const bool offset : {false, true}) {
        SCOPED_TRACE(concat(num_bits, " ", granularity, " ", offset));
        const OpenedModel model = shifted(num_bits, granularity, offset);
        const ConvertedSummary summary = save_converted(*model.decoder, *model.source, out_, true);
        const OpenedModel back = open_model(out_);
        EXPECT_EQ(summarize(*back.decoder).sha256, summary.sha256);
        EXPECT_NE(summary.sha256, last) << "the checksum sees zero points and offsets";
        last = summary.sha256;
        check_converted(out_, *back.decoder);
        EXPECT_TRUE(summary.layers.front().has_zero_point);
        EXPECT_EQ(summary.layers.front().has_offset, offset);
        const at::Tensor tokens = at::arange(24, at::kLong).unsqueeze(0);
        EXPECT_TRUE(at::equal(model.decoder->logits(model.decoder->forward(tokens)),
                              back.decoder->logits(back.decoder->forward(tokens))));
      }
    }
  }
}

// A changed zero point or offset is noticed by the checksum.
TEST_F(ConvertedShift, ChecksumSeesTheShift) {
  for (const char* tensor : {"weight_zero_point", "weight_offset"}) {
    const OpenedModel model = shifted(4, "channel", true);
    save_converted(*model.decoder, *model.source, out_, true);
    const std::string name = concat("model.layers.0.mlp.up_proj.", tensor);
    std::size_t offset = 0;
    const fs::path file = out_ / "model.safetensors";
    {
      const formats::SafetensorsFile tensors(file);
      const auto whole = read_text_file(file);
      const auto bytes = tensors.at(name).data;
      const std::string_view wanted(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      offset = whole.find(wanted);
      ASSERT_NE(offset, std::string::npos);
      ASSERT_EQ(whole.find(wanted, offset + 1), std::string::npos) << "a sequence that is there once";
    }
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(offset));
    const int byte = stream.get();
    stream.seekp(static_cast<std::streamoff>(offset));
    stream.put(static_cast<char>(byte ^ 1));
    stream.close();
    const OpenedModel back = open_model(out_);
    expect_error<Error>([&] { check_converted(out_, *back.decoder); }, {"sha256", "lrqat convert"});
  }
}

// The config and the tensors must say the same.
TEST_F(ConvertedShift, RefusesAConfigThatSaysOtherwise) {
  const OpenedModel model = shifted(4, "channel", true);
  save_converted(*model.decoder, *model.source, out_);
  const fs::path path = out_ / "config.json";
  const Json good = read_json_file(path);
  const auto with = [&](const char* key, const Json& value) {
    Json bad = good;
    bad["quantization_config"]["layers"][0][key] = value;
    write_text_file(path, bad.dump());
  };
  with("offset", false);
  expect_error<Error>([&] { open_model(out_); }, {".weight_offset", "has no place"});
  with("zero_point", false);
  expect_error<Error>([&] { open_model(out_); }, {".weight_zero_point", "has no place"});
  with("granularity", "tensor");
  expect_error<Error>([&] { open_model(out_); }, {"weight_scale", "shape"});
  with("zero_point", "yes");
  expect_error<Error>([&] { open_model(out_); }, {"zero_point"});
  write_text_file(path, good.dump());
  EXPECT_NO_THROW(open_model(out_));
}

}  // namespace
}  // namespace lrqat::model
