#include "lrqat/nn/embedding.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"

namespace lrqat::nn {
namespace {

void check_tokens(const at::Tensor& tokens, std::int64_t vocab_size) {
  LRQAT_CHECK(tokens.scalar_type() == at::kLong);
  if (tokens.numel() == 0) return;
  const auto [low, high] = tokens.aminmax();
  if (low.item<std::int64_t>() >= 0 && high.item<std::int64_t>() < vocab_size) return;
  fail("token id ", (low.item<std::int64_t>() < 0 ? low : high).item<std::int64_t>(),
       " is outside the model's vocabulary of ", vocab_size,
       " tokens: does this tokenizer belong to this model?");
}

}  // namespace

at::Tensor Embedding::forward(const at::Tensor& tokens) const {
  check_tokens(tokens, weight_->out_features());
  auto shape = tokens.sizes().vec();
  shape.push_back(weight_->in_features());
  const at::Tensor ids = tokens.reshape({-1});
  if (const at::Tensor table = weight_->float_storage(); table.defined()) {
    return table.index_select(0, ids.to(weight_->device())).to(at::kFloat).view(shape);
  }
  const at::Tensor host_ids = ids.to(at::kCPU);
  at::Tensor out = at::empty({ids.size(0), weight_->in_features()},
                             at::TensorOptions(weight_->device()).dtype(at::kFloat));
  for (std::int64_t i = 0; i < ids.size(0); ++i) {
    const std::int64_t id = host_ids.const_data_ptr<std::int64_t>()[i];
    const quant::WeightTile row = weight_->make_tile(id, id + 1, ops::ComputeType::float32);
    out[i].copy_(row.to_float()[0]);
  }
  return out.view(shape);
}

}  // namespace lrqat::nn
