// Log-probabilities of a model of ours for other programs to compare with: tests/outsiders/llama_cpp_test.py
// names the model (LRQAT_OUTSIDER_MODEL), the token ids (LRQAT_OUTSIDER_IDS, "1,2,3") and the folder for the
// answer (LRQAT_WRITE_OUTSIDER_FILES). Without them a small model is taken, so that the test checks itself
// everywhere.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "lrqat/formats/safetensors.h"
#include "lrqat/model/open.h"
#include "tests/model/fixtures.h"

namespace lrqat::exporting {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : fallback;
}

at::Tensor parse_ids(const std::string& text) {
  std::vector<std::int64_t> ids;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) ids.push_back(std::stoll(part));
  return at::tensor(ids, at::kLong).unsqueeze(0);
}

TEST(OutsiderFiles, LogProbabilities) {
  const at::NoGradGuard no_grad;
  const model::testing::TemporaryFolder temporary;
  const fs::path path =
      environment("LRQAT_OUTSIDER_MODEL", fs::path(LRQAT_TEST_DATA) / "formats" / "tiny_llama.gguf");
  const fs::path out = environment("LRQAT_WRITE_OUTSIDER_FILES", temporary.path());
  const auto model = model::open_model(path);
  const at::Tensor ids = parse_ids(environment("LRQAT_OUTSIDER_IDS", "1,5,3,4"));
  const at::Tensor logits = model.decoder->logits(model.decoder->forward(ids)).squeeze(0);
  const at::Tensor log_probabilities = logits.log_softmax(-1).contiguous();
  EXPECT_LT(model::testing::max_difference(log_probabilities.exp().sum(-1), at::ones(ids.size(1))), 1e-4);
  formats::SafetensorsWriter writer(
      out / "log_probabilities.safetensors",
      {{"log_probabilities", formats::DType::F32, log_probabilities.sizes().vec()}});
  writer.write("log_probabilities", {static_cast<const std::byte*>(log_probabilities.const_data_ptr()),
                                     log_probabilities.nbytes()});
  writer.finish();
}

}  // namespace
}  // namespace lrqat::exporting
