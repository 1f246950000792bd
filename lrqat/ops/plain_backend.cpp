// Every operation in ATen's own operations, for any device.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "lrqat/ops/attention.h"
#include "lrqat/ops/backend.h"
#include "lrqat/ops/quantize_tokens.h"
#include "lrqat/ops/soft_cap.h"

namespace lrqat::ops {
namespace {

// Scales repeated over K: [rows or 1, K].
at::Tensor spread(const at::Tensor& scale, std::int64_t in_features) {
  return scale.size(1) == 1 ? scale : scale.repeat_interleave(in_features / scale.size(1), 1);
}

class PlainLogSumExp final : public RowLogSumExp {
 public:
  void add(const at::Tensor&) override {}
  at::Tensor result(const at::Tensor& logits) const override { return at::logsumexp(logits, 1); }
};

}  // namespace

// 256 MiB of float32: every operation on a tile costs a launch.
std::int64_t Backend::tile_rows(std::int64_t in_features) const {
  constexpr std::int64_t kTileBytes = 256 << 20;
  return std::max<std::int64_t>(kTileBytes / (4 * std::max<std::int64_t>(in_features, 1)), 1);
}

std::int64_t Backend::logit_tile_columns() const { return 32768; }

std::int64_t Backend::logit_bytes(std::int64_t bytes) const { return 16 * bytes; }

at::Tensor Backend::to_bfloat16(const at::Tensor& x) const { return x.to(at::kBFloat16).contiguous(); }

std::shared_ptr<const StoredOperand> Backend::stored_operand(const StoredWeight&, ComputeType) const {
  return nullptr;
}

TileTensors Backend::low_rank_tile(const StoredWeight& weight, const TileOutputs& wanted) const {
  const LowRankTerm& term = weight.low_rank;
  at::Tensor rounded = decode(weight);
  if (term.lora_a.defined()) {
    at::Tensor product = at::mm(term.lora_a, term.lora_b);
    if (term.bfloat16_product) {
      product =
          product.to(at::kBFloat16).to(at::kFloat).mul_(term.lora_scaling).to(at::kBFloat16).to(at::kFloat);
    } else {
      product.mul_(term.lora_scaling);
    }
    rounded = term.round_separately ? rounded + product.round_() : (rounded + product).round_();
  } else if (!term.round_separately) {
    rounded = rounded.round();
  }
  const at::Tensor q = rounded.clamp(weight.quant_min, weight.quant_max);
  TileTensors tile;
  if (wanted.codes) tile.codes = q.to(at::kChar);
  if (wanted.mask) tile.mask = q.eq(rounded).to(at::kByte);
  if (wanted.values) tile.values = q * spread(weight.scale, weight.in_features);
  if (wanted.bfloat16_codes) tile.bfloat16_codes = q.to(at::kBFloat16);
  if (wanted.clipped) tile.clipped = q.ne(rounded).sum(1).to(at::kInt);
  return tile;
}

at::Tensor Backend::low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                           const at::Tensor& grad_weight) const {
  const std::int64_t cols = grad_weight.size(1);
  const at::Tensor weighted = grad_weight * tile.codes;
  const at::Tensor grad_scale =
      weighted.view({grad_weight.size(0), scale.size(1), cols / scale.size(1)}).sum(2);
  at::Tensor grad = grad_weight;
  grad.mul_(spread(scale, cols)).mul_(tile.mask);
  return grad_scale;
}

void Backend::add_low_rank_rows(const at::Tensor& values, const at::Tensor& a, const at::Tensor& lora_b,
                                double lora_scaling) const {
  at::Tensor(values).addmm_(a, lora_b, 1.0, lora_scaling);
}

GradientRowsOf Backend::gradient_rows(const LinearGradient& linear) const {
  return [grad = linear.grad_output, x = linear.x.to(at::kFloat)](std::int64_t begin, std::int64_t end) {
    return at::mm(grad.slice(1, begin, end).t(), x);
  };
}

std::optional<LowRankGradient> Backend::low_rank_gradient(const StoredWeight&, const LinearGradient&,
                                                          std::int64_t, bool) const {
  return std::nullopt;
}

std::optional<LowRankGradient> Backend::blockwise_gradient(const StoredWeight&, const LinearGradient&) const {
  return std::nullopt;
}

LowRankGradient Backend::adapter_gradient(const LinearGradient& linear, const at::Tensor& lora_a,
                                          const at::Tensor& lora_b) const {
  const at::Tensor x = linear.x.to(at::kFloat), b_columns = lora_b.t().contiguous();
  const at::Tensor grad_b_columns = at::mm(x.t(), at::mm(linear.grad_output, lora_a));
  return {at::mm(linear.grad_output.t(), at::mm(x, b_columns)), grad_b_columns.t()};
}

// SDPA's own is_causal counts from the first key, which is right only for Q = K.
at::Tensor Backend::causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     std::int64_t window, double softcap, ComputeType) const {
  const std::int64_t queries = q.size(2), keys = k.size(2);
  if (softcap > 0) return soft_capped_attention(q, k, v, visible_keys(queries, keys, window, q), softcap);
  if (window >= keys) window = 0;
  if (window == 0 && queries == keys) return dot_product_attention(q, k, v, {}, /*causal=*/true);
  if (window == 0 && queries == 1) return dot_product_attention(q, k, v, {}, /*causal=*/false);
  return dot_product_attention(q, k, v, visible_keys(queries, keys, window, q),
                               /*causal=*/false);
}

NormedRows Backend::rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) const {
  const at::Tensor r = (x.square().mean(-1, true) + eps).rsqrt();
  return {x * r * weight, r};
}

at::Tensor Backend::rms_norm_input_gradient(const at::Tensor& grad, const at::Tensor& x,
                                            const at::Tensor& weight, const at::Tensor& r) const {
  const at::Tensor weighted = grad * weight;
  return weighted * r - x * (r.pow(3) * (weighted * x).mean(-1, true));
}

at::Tensor Backend::rotate_heads(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                                 bool inverse) const {
  const std::int64_t half = cos.size(1);
  const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1) * (inverse ? -1.0 : 1.0);
  const at::Tensor x1 = x.narrow(-1, 0, half), x2 = x.narrow(-1, half, half);
  return at::cat({x1 * c - x2 * s, x2 * c + x1 * s}, -1);
}

at::Tensor Backend::quantized_tokens(const at::Tensor& x, int num_bits, at::Tensor* mask) const {
  const QuantizedActivation result = quantize_tokens(x, num_bits);
  if (mask != nullptr) *mask = result.mask;
  return result.values;
}

std::unique_ptr<RowLogSumExp> Backend::row_log_sum_exp(std::int64_t) const {
  return std::make_unique<PlainLogSumExp>();
}

void Backend::to_softmax_gradient(at::Tensor tile, const at::Tensor& lse, const at::Tensor& factor) const {
  tile.copy_((tile - lse.unsqueeze(1)).exp_().mul_(factor.unsqueeze(1)));
}

void Backend::to_distilled_gradient(at::Tensor tile, const TeacherRows& teacher, const at::Tensor& lse,
                                    const at::Tensor& factor, at::Tensor difference) const {
  at::Tensor gradient = (tile - lse.unsqueeze(1)).exp_();
  const at::Tensor probability = (teacher.logits - teacher.lse.unsqueeze(1)).exp_();
  difference += (probability * (teacher.logits - tile)).sum(1);
  gradient.sub_(probability, teacher.weight);
  tile.copy_(gradient.mul_(factor.unsqueeze(1)));
}

void Backend::add_teacher_difference(const at::Tensor& tile, const TeacherRows& teacher,
                                     at::Tensor difference) const {
  const at::Tensor probability = (teacher.logits - teacher.lse.unsqueeze(1)).exp_();
  difference += (probability * (teacher.logits - tile)).sum(1);
}

void Backend::subtract_one_hot(at::Tensor tile, const at::Tensor& column, std::int64_t first_column,
                               const at::Tensor& value) const {
  const std::int64_t end = first_column + tile.size(1);
  const at::Tensor inside = (column >= first_column).logical_and_(column < end);
  const at::Tensor taken = value.unsqueeze(1).masked_fill(~inside, 0.0);
  tile.scatter_add_(1, (column - first_column).clamp(0, tile.size(1) - 1), -taken);
}

TargetScores Backend::score_targets(const at::Tensor& logits, const at::Tensor& targets) const {
  const at::Tensor column = targets.to(logits.device());
  const at::Tensor log_p = logits.gather(1, column.unsqueeze(1)).squeeze(1) - at::logsumexp(logits, {1});
  return {log_p.to(at::kCPU, at::kDouble), (logits.argmax(1) == column).to(at::kCPU)};
}

bool Backend::has_fused_adamw() const { return false; }

}  // namespace lrqat::ops
