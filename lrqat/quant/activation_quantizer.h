// Fake quantization of activations (docs/method.md section 9), differentiable in x with the rounding straight
// through and the gradient masked where a value is clipped.
//
// Per token, asymmetric, dynamic (each vector along the last dimension on its own):
//     s = max((max x - min x) / (2^b - 1), 1e-8)      z = -min x / s, not rounded; both without gradient
//     q = clip(round(x / s) + z, 0, 2^b - 1)          y = s·(q - z)      dx = dy where 0 <= round(x/s) + z <=
//     2^b - 1
// Because z is not rounded, one end of each token's range falls outside of the grid by less than a step: it
// becomes the exact minimum or maximum and has no gradient.
//
// Static: one scale for the tensor from a running range, z whole, on the signed grid where it is symmetric:
//     lo <- (1 - m)·min(x) + m·lo, hi alike; lo = min(lo, 0), hi = max(hi, 1e-8)
//     symmetric: s = max(-lo, hi) / quant_max, z = 0      asymmetric: s = (hi - lo) / (2^b - 1), z =
//     round(-lo / s)
// fixed, or learned from there with LSQ's gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/ops/quantize_tokens.h"
#include "lrqat/quant/activation_options.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

using ops::QuantizedActivation;

// Without autograd: every part, for tests and for storing codes.
QuantizedActivation quantize_per_token(const at::Tensor& x, int num_bits);

// y of the above, differentiable in x. num_bits 1 to 16; x float32 of any shape.
at::Tensor fake_quantize_per_token(const at::Tensor& x, int num_bits);

struct StaticQuantizerOptions {
  int num_bits = 8;
  bool symmetric = false;
  double momentum = 0.9;          // m of the running range
  bool gradient_scaling = false;  // gradients of s and z times 1 / sqrt(elements of x · largest code)
};

class StaticQuantizer {
 public:
  explicit StaticQuantizer(const StaticQuantizerOptions& options) : options_(options) {}
  // With a range from a file: scale [1] float32, zero_float [1] (undefined where symmetric).
  StaticQuantizer(const StaticQuantizerOptions& options, at::Tensor scale, at::Tensor zero_float);

  // Takes x into the running range. Once per batch, in the first forward pass only (a recomputed block must
  // not count twice). Not allowed once the range is learned.
  void observe(const at::Tensor& x);
  // From now on scale and zero_float are parameters, starting from the range that there is.
  void learn();

  // y, differentiable in x and, where they are learned, in the parameters. Needs a range: observe() first.
  at::Tensor forward(const at::Tensor& x) const;
  QuantizedActivation quantize(const at::Tensor& x) const;  // every part, without autograd

  std::vector<Parameter> parameters() const;  // "scale" and, asymmetric, "zero_float"; empty before learn()
  double low() const { return low_; }         // of the running range, as observed
  double high() const { return high_; }
  const at::Tensor& scale() const { return scale_; }            // [1]; undefined before a range was seen
  const at::Tensor& zero_float() const { return zero_float_; }  // [1]; undefined where symmetric

 private:
  int quant_min() const { return options_.symmetric ? -(1 << (options_.num_bits - 1)) : 0; }
  int quant_max() const;
  void set_range(at::Device device);

  StaticQuantizerOptions options_;
  bool seen_ = false;  // a range was observed here, not read
  bool learned_ = false;
  double low_ = 0.0;
  double high_ = 0.0;
  at::Tensor scale_;       // [1] float32, undefined before a range was seen
  at::Tensor zero_float_;  // [1]
};

// The asymmetric quantizer of one point of a model, by the name that it has on disk
// ("model.layers.0.self_attn.cached_keys"). Dynamic, or static with a range that must be observed or set
// first.
class ActivationQuantizer {
 public:
  ActivationQuantizer(std::string name, int num_bits, ActivationRange range);

  // y, differentiable in x. While observing, x is taken into the range before, and there is no gradient.
  at::Tensor forward(const at::Tensor& x);

  void observe(bool on) { observing_ = on; }
  // Static only. Error where no range was observed.
  void learn();
  void set_range(at::Tensor scale, at::Tensor zero_float);

  const std::string& name() const { return name_; }
  int num_bits() const { return num_bits_; }
  bool is_dynamic() const { return !static_; }
  // Names with this point's in front: what is trained, and what is kept as it is.
  std::vector<Parameter> parameters() const;
  std::vector<std::pair<std::string, at::Tensor>> buffers() const;
  const StaticQuantizer& static_range() const { return static_.value(); }

 private:
  std::string name_;
  int num_bits_;
  std::optional<StaticQuantizer> static_;
  bool observing_ = false;
};

}  // namespace lrqat::quant
