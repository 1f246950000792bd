// Starts from the integers of a quantized model, codes and scales bit for bit.
#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

// With the stored scales and zero points in place of estimated ones, every method's own start has the stored
// codes: (s·k) / s rounds to k.
Given on_stored_scales(const LinearInput& linear) {
  if (!linear.stored) return linear.options.range;
  const quant::ScaleOptions& options = linear.options.spec.scale;
  const quant::ScaleParameter scale(linear.stored->scale, options);
  if (!at::equal(scale.effective(), linear.stored->scale)) {
    fail(linear.name, ": the model's scales are not kept by `scale-type` ",
         quant::scale_type_name(options.type),
         options.domain == quant::ScaleDomain::log ? " and `scale-domain` log" : "",
         ": use a `scale-type` that holds them (float32 does), or `init` range to find other scales");
  }
  return quant::InitialRange(
      quant::QuantRange::of(linear.stored->scale, linear.stored->zero_point, linear.options.spec.grid));
}

}  // namespace

// That it becomes gptq where there is text and nothing stored, fit_to_model decides, before any linear
// starts.
Start auto_start() {
  return {.name = "auto",
          .help = "stored where the model's integers lie on this grid, else gptq; rtn: else range",
          .needs_grid = false,
          .stored = Stored::taken,
          .linear = on_stored_scales};
}

Start stored_start() {
  return {.name = "stored",
          .help = "the integers and scales of a quantized model",
          .stored = Stored::required,
          .linear = on_stored_scales};
}

}  // namespace lrqat::start
