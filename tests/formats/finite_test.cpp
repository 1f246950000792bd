// all_finite against the dequantizer, on random bytes of every type that can be read.
#include "lrqat/formats/finite.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lrqat/base/random.h"
#include "lrqat/formats/ggml_blocks.h"

namespace lrqat::formats {
namespace {

TEST(AllFinite, AgreesWithTheValues) {
  Random random(7);
  for (const GgmlTypeInfo& info : ggml_types()) {
    if (!info.can_dequantize) continue;
    int finite = 0;
    for (int round = 0; round < 400; ++round) {
      std::vector<std::byte> block(info.block_bytes + 1);
      for (std::byte& byte : block) byte = static_cast<std::byte>(random.below(256));
      if (round % 2 == 0) {  // more of what is not finite: exponents of ones are rare in random words
        const auto at = static_cast<std::size_t>(random.below(info.block_bytes - 1)) / 2 * 2 + 1;
        block[at] |= std::byte{0x7f};
        block[at - 1] |= std::byte{0x80};
        block[at + 1] |= std::byte{0x7c};
      }
      std::vector<float> values(static_cast<std::size_t>(info.block_elements));
      dequantize_row(info.type, block.data() + 1, values.data(), info.block_elements);
      const bool expected =
          std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
      EXPECT_EQ(all_finite(info.type, block.data() + 1, info.block_elements), expected) << info.name;
      finite += expected ? 1 : 0;
    }
    EXPECT_GT(finite, 0) << info.name;
    EXPECT_LT(finite, 400) << info.name;
  }
}

}  // namespace
}  // namespace lrqat::formats
