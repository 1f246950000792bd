// The integer grid that weights are rounded to, and how many weights share one scale.
// N out_features, K in_features, G groups along K.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lrqat::quant {

// Codes q with quant_min <= q <= quant_max; the value is scale * q (method.md section 1). A grid with an
// integer zero point is the signed grid shifted by that integer, so bounds are all that the kernels need to
// know.
struct Grid {
  int num_bits = 4;
  int quant_min = -8;
  int quant_max = 7;

  // [-2^(b-1), 2^(b-1) - 1]. num_bits must be 2, 3, 4 or 8, otherwise UsageError.
  static Grid signed_symmetric(int num_bits);
  bool operator==(const Grid&) const = default;
};

struct Granularity {
  enum class Kind { tensor, channel, group };
  Kind kind = Kind::channel;
  std::int64_t group_size = 0;  // weights along K that share a scale; only for Kind::group

  // "tensor", "channel" or "group:64"; anything else is a UsageError that shows these forms.
  static Granularity parse(std::string_view text);
  std::string name() const;  // the same three forms

  // Shape of the scales of an [N, K] weight: [1, 1], [N, 1] or [N, K / group_size].
  std::array<std::int64_t, 2> scale_shape(std::int64_t out_features, std::int64_t in_features) const;

  // Error naming `layer` and the group sizes that would work, when group_size does not divide in_features.
  void check(const std::string& layer, std::int64_t in_features) const;

  bool operator==(const Granularity&) const = default;
};

}  // namespace lrqat::quant
