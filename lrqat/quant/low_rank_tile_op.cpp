#include "lrqat/quant/low_rank_tile_op.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lrqat/base/error.h"

namespace lrqat::quant {
namespace {

// Rows a thread takes at least; a multiple of the kernel's row block.
constexpr std::int64_t kGrainRows = 16;

kernels::ScaleView scale_view(const at::Tensor& scale, std::int64_t row, std::int64_t in_features) {
  const std::int64_t stride = scale.size(0) == 1 ? 0 : scale.size(1);
  return {scale.const_data_ptr<float>() + row * stride, stride, in_features / scale.size(1)};
}

// Scales spread over K: [rows or 1, K].
at::Tensor spread(const at::Tensor& scale, std::int64_t in_features) {
  return scale.size(1) == 1 ? scale : scale.repeat_interleave(in_features / scale.size(1), 1);
}

TileTensors allocate(const TileWish& wish, std::int64_t rows, std::int64_t cols) {
  TileTensors tile;
  if (wish.codes) tile.codes = at::empty({rows, cols}, at::kChar);
  if (wish.mask) tile.mask = at::empty({rows, cols}, at::kByte);
  if (wish.values) tile.values = at::empty({rows, cols}, at::kFloat);
  if (wish.bfloat16_codes) tile.bfloat16_codes = at::empty({rows, cols}, at::kBFloat16);
  if (wish.clipped) tile.clipped = at::empty({rows}, at::kInt);
  return tile;
}

template <typename T>
T* rows_from(const at::Tensor& tensor, std::int64_t row) {
  if (!tensor.defined()) return nullptr;
  return static_cast<T*>(tensor.mutable_data_ptr()) + row * tensor.stride(0);
}

kernels::TileOutput output_from(const TileTensors& tile, std::int64_t row) {
  kernels::TileOutput output;
  output.codes = rows_from<std::int8_t>(tile.codes, row);
  output.mask = rows_from<std::uint8_t>(tile.mask, row);
  output.clipped = rows_from<std::int32_t>(tile.clipped, row);
  output.values = rows_from<float>(tile.values, row);
  output.values_stride = tile.values.defined() ? tile.values.stride(0) : 0;
  output.bfloat16_codes = rows_from<std::uint16_t>(tile.bfloat16_codes, row);
  return output;
}

kernels::LowRankTile kernel_input(const Phi0& phi_0, const LowRankTerm& term, const Grid& grid,
                                  std::int64_t row_begin, std::int64_t row_end) {
  kernels::LowRankTile input;
  input.phi = phi_0.view(row_begin);
  input.rows = row_end - row_begin;
  input.cols = phi_0.in_features();
  if (term.lora_a.defined()) {
    LRQAT_CHECK(term.lora_a.is_contiguous() && term.lora_b.is_contiguous());
    input.rank = term.lora_a.size(1);
    input.lora_a = term.lora_a.const_data_ptr<float>() + row_begin * input.rank;
    input.lora_b = term.lora_b.const_data_ptr<float>();
  }
  input.lora_scaling = term.lora_scaling;
  input.quant_min = static_cast<float>(grid.quant_min);
  input.quant_max = static_cast<float>(grid.quant_max);
  input.round_low_rank = term.round_separately;
  input.bfloat16_product = term.bfloat16_product;
  return input;
}

}  // namespace

TileTensors low_rank_tile(const Phi0& phi_0, const LowRankTerm& term, const Grid& grid,
                          const at::Tensor& scale, std::int64_t row_begin, std::int64_t row_end,
                          const TileWish& wish) {
  if (!phi_0.tensor().is_cpu()) return low_rank_tile_aten(phi_0, term, grid, scale, row_begin, row_end, wish);
  const std::int64_t cols = phi_0.in_features();
  const TileTensors tile = allocate(wish, row_end - row_begin, cols);
  at::parallel_for(0, row_end - row_begin, kGrainRows, [&](std::int64_t begin, std::int64_t end) {
    kernels::low_rank_tile(kernel_input(phi_0, term, grid, row_begin + begin, row_begin + end),
                           scale_view(scale, begin, cols), output_from(tile, begin));
  });
  return tile;
}

TileTensors low_rank_tile_aten(const Phi0& phi_0, const LowRankTerm& term, const Grid& grid,
                               const at::Tensor& scale, std::int64_t row_begin, std::int64_t row_end,
                               const TileWish& wish) {
  at::Tensor rounded = phi_0.decode(row_begin, row_end);
  if (term.lora_a.defined()) {
    at::Tensor product = at::mm(term.lora_a.slice(0, row_begin, row_end), term.lora_b);
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
  const at::Tensor q = rounded.clamp(grid.quant_min, grid.quant_max);
  TileTensors tile;
  if (wish.codes) tile.codes = q.to(at::kChar);
  if (wish.mask) tile.mask = q.eq(rounded).to(at::kByte);
  if (wish.values) tile.values = q * spread(scale, phi_0.in_features());
  if (wish.bfloat16_codes) tile.bfloat16_codes = q.to(at::kBFloat16);
  if (wish.clipped) tile.clipped = q.ne(rounded).sum(1).to(at::kInt);
  return tile;
}

WeightTile quantized_tile(const Phi0& phi_0, const LowRankTerm& term, const Grid& grid,
                          const at::Tensor& scale, std::int64_t row_begin, std::int64_t row_end,
                          ops::ComputeType compute) {
  if (compute == ops::ComputeType::float32 || scale.size(1) > 1) {
    const at::Tensor values =
        low_rank_tile(phi_0, term, grid, scale, row_begin, row_end, {.values = true}).values;
    return {compute == ops::ComputeType::float32 ? values : values.to(at::kBFloat16), {}};
  }
  const TileTensors tile =
      low_rank_tile(phi_0, term, grid, scale, row_begin, row_end, {.bfloat16_codes = true});
  return {tile.bfloat16_codes,
          scale.size(0) == 1 ? scale.view({1}).expand({row_end - row_begin}) : scale.squeeze(1)};
}

std::optional<ops::OperandSource> low_rank_operand(const Phi0& phi_0, const LowRankTerm& term,
                                                   const Grid& grid, const at::Tensor& scale,
                                                   ops::ComputeType compute, const at::Tensor& zero_point) {
  const std::int64_t n = phi_0.out_features(), k = phi_0.in_features();
  if (!phi_0.tensor().is_cpu()) return std::nullopt;
  if (compute == ops::ComputeType::bfloat16 && (n % 2 != 0 || k % 2 != 0)) return std::nullopt;
  ops::OperandSource source;
  source.weight = kernel_input(phi_0, term, grid, 0, n);
  source.scale = scale_view(scale, 0, k);
  source.storage = {phi_0.tensor(), scale, term.lora_a, term.lora_b};
  if (zero_point.defined()) {
    const at::Tensor z = zero_point.contiguous();
    LRQAT_CHECK(z.scalar_type() == at::kChar && z.sizes() == scale.sizes());
    source.scale.zero_point = z.const_data_ptr<std::int8_t>();
    source.storage.push_back(z);
  }
  if (scale.size(1) > 1) {
    source.scaled_pairs = true;
  } else {
    source.row_scale = scale.size(0) == 1 ? scale.view({1}).expand({n}).contiguous() : scale.squeeze(1);
  }
  return source;
}

at::Tensor low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                  const at::Tensor& grad_weight) {
  if (!grad_weight.is_cpu()) return low_rank_tile_gradient_aten(tile, scale, grad_weight);
  LRQAT_CHECK(grad_weight.is_contiguous() && grad_weight.scalar_type() == at::kFloat);
  const std::int64_t rows = grad_weight.size(0), cols = grad_weight.size(1);
  at::Tensor grad_scale = at::empty({rows, scale.size(1)}, at::kFloat);
  at::parallel_for(0, rows, kGrainRows, [&](std::int64_t begin, std::int64_t end) {
    kernels::low_rank_tile_gradient(
        end - begin, cols, tile.codes.const_data_ptr<std::int8_t>() + begin * cols,
        tile.mask.const_data_ptr<std::uint8_t>() + begin * cols, scale_view(scale, begin, cols),
        grad_weight.mutable_data_ptr<float>() + begin * cols,
        grad_scale.mutable_data_ptr<float>() + begin * scale.size(1));
  });
  return grad_scale;
}

at::Tensor low_rank_tile_gradient_aten(const TileTensors& tile, const at::Tensor& scale,
                                       const at::Tensor& grad_weight) {
  const std::int64_t cols = grad_weight.size(1);
  const at::Tensor weighted = grad_weight * tile.codes;
  const at::Tensor grad_scale =
      weighted.view({grad_weight.size(0), scale.size(1), cols / scale.size(1)}).sum(2);
  at::Tensor grad = grad_weight;
  grad.mul_(spread(scale, cols)).mul_(tile.mask);
  return grad_scale;
}

}  // namespace lrqat::quant
