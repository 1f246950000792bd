#include "lrqat/quant/activation_options.h"

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"
#include "lrqat/base/user_text.h"

namespace lrqat::quant {

ActivationRange parse_activation_range(const std::string& name) {
  if (name == "dynamic") return ActivationRange::dynamic;
  if (name == "static") return ActivationRange::fixed;
  throw UsageError(concat("`activation-range` ", quote(name), ": expected dynamic or static"));
}

std::string activation_range_name(ActivationRange range) {
  return range == ActivationRange::dynamic ? "dynamic" : "static";
}

int check_activation_bits(const std::string& flag, int bits) {
  if (bits == 4 || bits == 8 || bits == kFloatBits) return bits;
  throw UsageError(concat(field_name(flag), " ", bits, ": expected 4, 8 or 16 (not quantized)"));
}

std::string activation_setting_name(const ActivationOptions& options) {
  const std::string down =
      options.down() == options.activation_bits ? "" : concat(", down_proj A", options.down());
  return concat("A", options.activation_bits, "KV", options.kv_bits, down);
}

}  // namespace lrqat::quant
