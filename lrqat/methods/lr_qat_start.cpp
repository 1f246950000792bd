#include "lrqat/methods/lr_qat_start.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/methods/method.h"
#include "lrqat/quant/low_rank_approximation.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::methods {
namespace {

// The neighbour of each value on the way to `target`, among the numbers of a 16-bit float type: its bits less
// one are nearer to zero, plus one further away.
at::Tensor next_towards(const at::Tensor& values, const at::Tensor& target, at::ScalarType type) {
  const at::Tensor bits = values.to(type).view(at::kShort);
  const at::Tensor step = at::where(target.abs().lt(values.abs()), -1, 1).to(at::kShort);
  return (bits + step).view(type).to(at::kFloat);
}

// One unit of φ towards the target.
at::Tensor moved(const at::Tensor& values, const at::Tensor& target, quant::Downcast downcast,
                 const quant::Grid& grid) {
  switch (downcast) {
    case quant::Downcast::bfloat16:
      return next_towards(values, target, at::kBFloat16);
    case quant::Downcast::float16:
      return next_towards(values, target, at::kHalf);
    case quant::Downcast::fixed_point8:
      return values + (target - values).sign() / static_cast<double>(1 << (8 - grid.num_bits));
    case quant::Downcast::float32:
    case quant::Downcast::int4:
    case quant::Downcast::integer:
      return target;  // these store the code of u, or u itself: nothing ever moves
  }
  internal_error(__FILE__, __LINE__, "downcast", "");
}

bool stores_codes(quant::Downcast downcast) {
  return downcast == quant::Downcast::int4 || downcast == quant::Downcast::integer;
}

// W/s0 of an asymmetric grid relative to its middle.
at::Tensor add_zero_point(const at::Tensor& u, const at::Tensor& zero_point) {
  if (!zero_point.defined()) return u;
  return (quant::grouped(u, zero_point) + quant::rows_of(zero_point, 0, u.size(0))).view(u.sizes());
}

void check_start(const std::string& name, const at::Tensor& weight, const LrQatOptions& options,
                 const LrQatStart& start) {
  check_rank(options.rank);
  if (start.faithful && start.svd_steps > 0) {
    throw UsageError(
        "`faithful-downcast` true is for adapters that start at zero: not together with `init` svd");
  }
  if (start.svd_steps > 0 && options.lora_alpha <= 0.0)
    throw UsageError("`init` svd needs a `lora-alpha` above 0");
  options.granularity.check(name, weight.size(1));
  quant::check_finite(name, weight);
}

quant::Phi0 store(const at::Tensor& u, const LrQatOptions& options, bool faithful) {
  quant::Phi0 phi_0 = quant::Phi0::allocate(u.size(0), u.size(1), options.downcast, options.grid, u.device());
  quant::for_each_tile(u.size(0), u.size(1), [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor rows = u.slice(0, begin, end);
    faithful ? store_faithfully(phi_0, begin, rows, options.downcast, options.grid)
             : phi_0.store_rows(begin, rows);
  });
  return phi_0;
}

}  // namespace

void store_faithfully(quant::Phi0& phi_0, std::int64_t row_begin, const at::Tensor& u,
                      quant::Downcast downcast, const quant::Grid& grid) {
  phi_0.store_rows(row_begin, u);
  if (downcast == quant::Downcast::float32 || stores_codes(downcast)) return;
  const at::Tensor code = u.round().clamp_(grid.quant_min, grid.quant_max);
  const at::Tensor stored = phi_0.decode(row_begin, row_begin + u.size(0));
  const at::Tensor wrong = stored.round().clamp_(grid.quant_min, grid.quant_max).ne(code);
  phi_0.store_rows(row_begin, at::where(wrong, moved(stored, code, downcast, grid), stored));
}

std::shared_ptr<LrQatWeight> start_lr_qat(const std::string& name, const at::Tensor& weight,
                                          const LrQatOptions& options, const LrQatStart& start,
                                          const quant::InitialRange& initial, std::uint64_t seed) {
  check_start(name, weight, options, start);
  const quant::QuantRange range = initial.of(weight, options.spec(start.symmetric));
  const at::Tensor zero_point = range.zero_point(options.grid);
  const quant::ScaleParameter scale(range.scale, options.scale);
  at::Tensor u = add_zero_point(quant::divide_by_scale(weight, scale.effective()), zero_point);
  const double clipped = quant::share_beyond(u, options.grid);
  at::Tensor lora_a = at::zeros({weight.size(0), options.rank}, weight.options());
  at::Tensor lora_b = quant::kaiming_uniform_rows(options.rank, weight.size(1), seed).to(weight.device());
  if (start.svd_steps > 0) {
    const double scaling = options.scaling();
    const auto round = [&](const at::Tensor& z) {
      return z.round().clamp_(options.grid.quant_min, options.grid.quant_max);
    };
    const quant::ResidueStart found =
        quant::approximate_residue(u, round, options.rank, scaling, start.svd_steps, seed);
    lora_a = found.factors.left.contiguous();
    lora_b = found.factors.right.contiguous();
    // A Φ0 of codes is the Q that A·B is the residue of: rounding W/s0 - γAB would leave a residue of its
    // own.
    u = stores_codes(options.downcast) ? found.rounded_from : at::addmm(u, lora_a, lora_b, 1.0, -scaling);
  }
  return std::make_shared<LrQatWeight>(options, store(u, options, start.faithful), scale, lora_a, lora_b,
                                       zero_point, clipped);
}

std::shared_ptr<LrQatWeight> start_lr_qat(const std::string& name, const quant::RoundedWeight& start,
                                          const LrQatOptions& options, std::uint64_t seed) {
  check_rank(options.rank);
  const at::Tensor& u = start.unrounded;
  quant::check_finite(name, u);
  return std::make_shared<LrQatWeight>(
      options, store(u, options, /*faithful=*/true),
      quant::ScaleParameter(start.rounded.scale, options.scale),
      at::zeros({u.size(0), options.rank}, u.options()),
      quant::kaiming_uniform_rows(options.rank, u.size(1), seed).to(u.device()), start.rounded.zero_point,
      start.rounded.clipped_fraction);
}

// --- the row

namespace {

LrQatOptions lr_qat_options(const LayerOptions& options) {
  return {.grid = options.spec.grid,
          .granularity = options.spec.granularity,
          .downcast = options.phi,
          .rank = options.rank,
          .lora_alpha = options.lora_alpha,
          .scale = options.spec.scale};
}

WeightPtr prepare(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  const LrQatStart start{.symmetric = options.spec.symmetric, .faithful = options.faithful_downcast};
  if (start.symmetric && !start.faithful)
    return LrQatWeight::prepare(name, weight, lr_qat_options(options), options.range, options.seed);
  return start_lr_qat(name, weight, lr_qat_options(options), start, options.range, options.seed);
}

WeightPtr from_integers(const std::string& name, const quant::RoundedWeight& start,
                        const LayerOptions& options) {
  return start_lr_qat(name, start, lr_qat_options(options), options.seed);
}

WeightPtr from_decomposition(const std::string& name, const at::Tensor& weight, const LayerOptions& options) {
  const LrQatStart start{options.spec.symmetric, options.faithful_downcast, options.svd_steps};
  return start_lr_qat(name, weight, lr_qat_options(options), start, options.range, options.seed);
}

WeightPtr restore(const SavedLayer& saved, const LayerOptions& layer) {
  const LrQatOptions options = lr_qat_options(layer);
  return std::make_shared<LrQatWeight>(
      options, quant::Phi0(saved.at("phi_0"), saved.in_features, options.downcast, options.grid, saved.name),
      saved_scale(saved, options.scale), saved.at("lora_a"), saved.at("lora_b"),
      layer.spec.symmetric ? at::Tensor() : saved.at("zero_point"), saved_clipped_at_start(saved));
}

double frozen_bytes(const LayerOptions& options) {
  switch (options.phi) {
    case quant::Downcast::float32:
      return 4;
    case quant::Downcast::bfloat16:
    case quant::Downcast::float16:
      return 2;
    case quant::Downcast::fixed_point8:
      return 1;
    case quant::Downcast::int4:
      return 0.5;
    case quant::Downcast::integer:
      return code_bytes(options);
  }
  internal_error(__FILE__, __LINE__, "downcast", "");
}

}  // namespace

Method lr_qat_method() {
  return {.name = "lr-qat",
          .has_adapters = true,
          .adapters_in_steps = true,
          .trains_scales = true,
          .reads = {.phi = true, .faithful_downcast = true},
          .prepare = prepare,
          .from_integers = from_integers,
          .from_decomposition = from_decomposition,
          .restore = restore,
          .frozen_bytes = frozen_bytes};
}

}  // namespace lrqat::methods
