#include "lrqat/start/channel_scales.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"

namespace lrqat::start {
namespace {

// Heads that share a value head lie behind each other: [heads·D] as [value heads, heads of each, D].
at::Tensor by_value_head(const at::Tensor& per_channel, const nn::Attention& attention) {
  return per_channel.view({attention.num_key_value_heads, attention.num_heads / attention.num_key_value_heads,
                           attention.head_dim});
}

void scale_columns(at::Tensor& matrix, const at::Tensor& scale) { matrix.mul_(scale.unsqueeze(0)); }
void divide_rows(at::Tensor& matrix, const at::Tensor& scale) { matrix.div_(scale.unsqueeze(1)); }

}  // namespace

at::Tensor shared_by_value_heads(const at::Tensor& per_channel, const nn::Attention& attention) {
  const at::Tensor heads = by_value_head(per_channel, attention);
  return heads.mean(1, /*keepdim=*/true).expand_as(heads).reshape({-1});
}

void fold(const ChannelScales& scales, const nn::Attention& attention, LayerWeights& weights) {
  auto& [q, k, v, o, gate, up, down] = weights.matrices;
  if (scales.qkv.defined()) {
    for (at::Tensor* matrix : {&q, &k, &v}) scale_columns(*matrix, scales.qkv);
    weights.input_norm.div_(scales.qkv);
  }
  if (scales.o.defined()) {
    const at::Tensor heads = by_value_head(scales.o, attention), first = heads.select(1, 0);
    LRQAT_CHECK(heads.eq(first.unsqueeze(1)).all().item<bool>(), "heads of one value head differ");
    scale_columns(o, scales.o);
    divide_rows(v, first.reshape({-1}));
  }
  if (scales.gate_up.defined()) {
    for (at::Tensor* matrix : {&gate, &up}) scale_columns(*matrix, scales.gate_up);
    weights.feed_forward_norm.div_(scales.gate_up);
  }
  if (scales.down.defined()) {
    scale_columns(down, scales.down);
    divide_rows(up, scales.down);
  }
}

}  // namespace lrqat::start
