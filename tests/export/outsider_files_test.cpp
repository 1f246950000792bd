// Log-probabilities of a model of ours, and the gradient of the mean loss with respect to the embeddings, for
// other programs to compare with: tests/outsiders/llama_cpp_test.py names the models (LRQAT_OUTSIDER_MODEL,
// one a line), the token ids (LRQAT_OUTSIDER_IDS, "1,2,3") and the folder for the answers
// (LRQAT_WRITE_OUTSIDER_FILES): log_probabilities.safetensors, of further models log_probabilities-1 and so
// on. Without them a small model is taken, so that the test checks itself everywhere.
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

// dL/d(embeddings) [T, H], L the mean negative log-likelihood of every token after the first.
at::Tensor embedding_gradient(const model::Decoder& decoder, const at::Tensor& ids) {
  const at::AutoGradMode with_grad(true);
  const at::Tensor embedded = decoder.embed(ids).detach().requires_grad_();
  at::Tensor hidden = embedded;
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) hidden = decoder.layer_forward(i, hidden);
  const at::Tensor logits = decoder.logits(decoder.final_norm(hidden)).squeeze(0);
  const std::int64_t last = ids.size(1) - 1;
  at::nll_loss(logits.narrow(0, 0, last).log_softmax(-1), ids.squeeze(0).narrow(0, 1, last)).backward();
  return embedded.grad().squeeze(0).contiguous();
}

void write(formats::SafetensorsWriter& writer, const std::string& name, const at::Tensor& tensor) {
  writer.write(name, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
}

void write_answer(const fs::path& path, const at::Tensor& ids, const fs::path& out) {
  const auto model = model::open_model(path);
  const at::Tensor logits = model.decoder->logits(model.decoder->forward(ids)).squeeze(0);
  const at::Tensor log_probabilities = logits.log_softmax(-1).contiguous();
  EXPECT_LT(model::testing::max_difference(log_probabilities.exp().sum(-1), at::ones(ids.size(1))), 1e-4);
  const at::Tensor gradient = embedding_gradient(*model.decoder, ids);
  EXPECT_GT(gradient.abs().max().item<float>(), 0);
  formats::SafetensorsWriter writer(
      out, {{"log_probabilities", formats::DType::F32, log_probabilities.sizes().vec()},
            {"embedding_gradient", formats::DType::F32, gradient.sizes().vec()}});
  write(writer, "log_probabilities", log_probabilities);
  write(writer, "embedding_gradient", gradient);
  writer.finish();
}

TEST(OutsiderFiles, LogProbabilities) {
  const at::NoGradGuard no_grad;
  const model::testing::TemporaryFolder temporary;
  std::istringstream models(
      environment("LRQAT_OUTSIDER_MODEL", fs::path(LRQAT_TEST_DATA) / "formats" / "tiny_llama.gguf"));
  const fs::path out = environment("LRQAT_WRITE_OUTSIDER_FILES", temporary.path());
  const at::Tensor ids = parse_ids(environment("LRQAT_OUTSIDER_IDS", "1,5,3,4"));
  int count = 0;
  for (std::string model; std::getline(models, model); ++count) {
    SCOPED_TRACE(model);
    const std::string number = count > 0 ? concat("-", count) : "";
    write_answer(model, ids, out / concat("log_probabilities", number, ".safetensors"));
  }
}

}  // namespace
}  // namespace lrqat::exporting
