#include "lrqat/base/field_names.h"

#include <gtest/gtest.h>

namespace lrqat {
namespace {

TEST(FieldNames, AreWrittenAsTheyWereGiven) {
  const std::string message = field_name("lora-alpha") + " 0: try `init` range, or a smaller `scale-lr`";
  EXPECT_EQ(with_field_names(message, "--"), "--lora-alpha 0: try --init range, or a smaller --scale-lr");
  EXPECT_EQ(with_field_names(message, ""), "lora-alpha 0: try init range, or a smaller scale-lr");
}

TEST(FieldNames, OtherBackQuotesStay) {
  for (const std::string text :
       {"see `lrqat plan`", "", "`", "``", "a ` b", "`Name`", "`a b`", "`1`", "`-x`"}) {
    EXPECT_EQ(with_field_names(text, "--"), text);
  }
  EXPECT_EQ(with_field_names("`lrqat plan` knows `rank`", "--"), "`lrqat plan` knows --rank");
  EXPECT_EQ(with_field_names("a ` b `rank`", "--"), "a ` b --rank");
}

}  // namespace
}  // namespace lrqat
