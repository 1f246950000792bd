#include "lrqat/start/channel_scales.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"

namespace lrqat::start {
namespace {

// [K] as [blocks, copies, width].
at::Tensor by_block(const at::Tensor& per_channel, const model::LinearGroup& group) {
  return per_channel.view({-1, group.producer.copies, group.producer.width});
}

}  // namespace

at::Tensor shared_by_copies(const at::Tensor& per_channel, const model::LinearGroup& group) {
  const at::Tensor blocks = by_block(per_channel, group);
  return blocks.mean(1, /*keepdim=*/true).expand_as(blocks).reshape({-1});
}

void fold(const model::LinearGroup& group, const at::Tensor& scale, LayerWeights& weights) {
  for (const nn::Linear* linear : group.linears) {
    weights.matrices.at(linear->name()).mul_(scale.unsqueeze(0));
  }
  if (group.producer.linear == nullptr) {
    weights.norms.at(group.producer.norm_name).div_(scale);
    return;
  }
  const at::Tensor blocks = by_block(scale, group), first = blocks.select(1, 0);
  LRQAT_CHECK(blocks.eq(first.unsqueeze(1)).all().item<bool>(), "copies of a channel differ");
  weights.matrices.at(group.producer.linear->name()).div_(first.reshape({-1}).unsqueeze(1));
}

}  // namespace lrqat::start
