// Test helper: LR-QAT weights drawn at random, "after some training" (A is not zero, s has moved), with a
// share of clipped entries. N out_features, K in_features, R rank.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>

#include "lrqat/methods/lr_qat_weight.h"

namespace lrqat::quant::testing {

constexpr std::array kDowncasts{Downcast::float32,      Downcast::bfloat16, Downcast::float16,
                                Downcast::fixed_point8, Downcast::int4,     Downcast::integer};

struct Draw {
  std::int64_t out_features = 24;
  std::int64_t in_features = 48;
  double spread = 1.0;  // standard deviation of the low-rank term in steps: decides how much is clipped
  std::uint64_t seed = 1;
};

inline methods::LrQatOptions options_of(int num_bits, const std::string& granularity, Downcast downcast,
                                        std::int64_t rank = 4) {
  methods::LrQatOptions options;
  options.grid = Grid::signed_symmetric(num_bits);
  options.granularity = Granularity::parse(granularity);
  options.downcast = downcast;
  options.rank = rank;
  options.lora_alpha = 2.0 * static_cast<double>(rank);  // γ = 2
  return options;
}

inline std::shared_ptr<methods::LrQatWeight> draw_weight(const methods::LrQatOptions& options,
                                                         const Draw& draw) {
  at::manual_seed(draw.seed);
  const at::Tensor weight = at::randn({draw.out_features, draw.in_features}) * 0.05;
  const auto prepared = methods::LrQatWeight::prepare("drawn", weight, options, {}, draw.seed);
  const auto parameters = prepared->parameters();
  const at::NoGradGuard no_grad;
  at::Tensor a = parameters[0].value, b = parameters[1].value, scale = prepared->scale().value();
  a.normal_(0.0, 1.0);
  b.normal_(0.0, draw.spread / (2.0 * std::sqrt(static_cast<double>(options.rank))));
  const at::Tensor factor = at::rand_like(scale) * 0.4 + 0.8;
  if (options.scale.domain == ScaleDomain::log) {
    scale.add_(factor.log());
  } else {
    scale.mul_(factor);
  }
  return prepared;
}

inline std::string describe(const methods::LrQatOptions& options) {
  return std::to_string(options.grid.num_bits) + " bits, " + options.granularity.name() + ", " +
         downcast_name(options.downcast) + ", scale " + scale_domain_name(options.scale.domain) + " " +
         scale_type_name(options.scale.type);
}

// Calls visit(options) for every φ, number of bits and granularity that go together. Groups have 8 weights.
template <typename Visit>
void for_each_kind(const Visit& visit) {
  for (const Downcast downcast : kDowncasts) {
    for (const int num_bits : {2, 3, 4, 8}) {
      if (downcast == Downcast::int4 && num_bits > 4) continue;
      for (const char* granularity : {"tensor", "channel", "group:8"}) {
        visit(options_of(num_bits, granularity, downcast));
      }
    }
  }
}

}  // namespace lrqat::quant::testing
