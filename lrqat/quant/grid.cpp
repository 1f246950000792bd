#include "lrqat/quant/grid.h"

#include <charconv>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::quant {

Grid Grid::signed_symmetric(int num_bits) {
  if (num_bits != 2 && num_bits != 3 && num_bits != 4 && num_bits != 8) {
    throw UsageError(concat("`bits` ", num_bits, " is not supported: use 2, 3, 4 or 8"));
  }
  return {num_bits, -(1 << (num_bits - 1)), (1 << (num_bits - 1)) - 1};
}

Granularity Granularity::parse(std::string_view text) {
  if (text == "tensor") return {Kind::tensor, 0};
  if (text == "channel") return {Kind::channel, 0};
  constexpr std::string_view kGroup = "group:";
  if (text.starts_with(kGroup)) {
    const std::string_view digits = text.substr(kGroup.size());
    std::int64_t size = 0;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
    if (code == std::errc{} && end == digits.data() + digits.size() && size > 0) return {Kind::group, size};
  }
  throw UsageError(concat("`granularity` ", quote(text),
                          " is not known: use tensor, channel or group:SIZE (as group:64)"));
}

std::string Granularity::name() const {
  switch (kind) {
    case Kind::tensor:
      return "tensor";
    case Kind::channel:
      return "channel";
    case Kind::group:
      return concat("group:", group_size);
  }
  internal_error(__FILE__, __LINE__, "granularity kind", "");
}

std::array<std::int64_t, 2> Granularity::scale_shape(std::int64_t out_features,
                                                     std::int64_t in_features) const {
  switch (kind) {
    case Kind::tensor:
      return {1, 1};
    case Kind::channel:
      return {out_features, 1};
    case Kind::group:
      return {out_features, in_features / group_size};
  }
  internal_error(__FILE__, __LINE__, "granularity kind", "");
}

void Granularity::check(const std::string& layer, std::int64_t in_features) const {
  if (kind != Kind::group || (group_size > 0 && in_features % group_size == 0)) return;
  std::string sizes;
  for (std::int64_t size = 8; size <= in_features; size *= 2) {
    if (in_features % size == 0) sizes += concat(sizes.empty() ? "" : ", ", size);
  }
  for (const std::int64_t size : {24, 48, 96, 192}) {
    if (in_features % size == 0) sizes += concat(sizes.empty() ? "" : ", ", size);
  }
  fail("group size ", group_size, " does not divide in_features = ", in_features, " of ", layer,
       sizes.empty() ? "; use `granularity` channel" : concat("; sizes that would work here: ", sizes));
}

}  // namespace lrqat::quant
