// How a model's activations are quantized: the settings that papers name W4A8KV8, W4A8KV4, W4A4KV4 (W, the
// bits of the weights, is set elsewhere). docs/method.md section 9.
#pragma once

#include <cstdint>
#include <string>

namespace lrqat::quant {

inline constexpr int kFloatBits = 16;  // what papers write where nothing is quantized

// dynamic: each token on a grid of its own; fixed ("static"): one range for all tokens, from a calibration.
enum class ActivationRange { dynamic, fixed };
ActivationRange parse_activation_range(const std::string& name);  // UsageError
std::string activation_range_name(ActivationRange range);

struct ActivationOptions {
  int activation_bits = kFloatBits;  // inputs of linears; with them queries and rotated keys, at kScoreBits
  int kv_bits = kFloatBits;          // keys and values as a cache holds them
  ActivationRange range = ActivationRange::dynamic;
  bool learn_range = false;   // static ranges are trained, with LSQ's gradients
  std::int8_t down_bits = 0;  // down_proj's input; 0: activation_bits

  int down() const { return down_bits == 0 ? activation_bits : down_bits; }
  bool any() const { return activation_bits < kFloatBits || kv_bits < kFloatBits || down() < kFloatBits; }
  bool operator==(const ActivationOptions&) const = default;
};

// The operands of the scores, queries and rotated keys, have 8 bits in every named setting: 4 would round
// keys twice.
inline constexpr int kScoreBits = 8;

int check_activation_bits(const std::string& flag, int bits);           // UsageError unless 4, 8 or 16
std::string activation_setting_name(const ActivationOptions& options);  // "A8KV4", "A4KV4, down_proj A8"

}  // namespace lrqat::quant
