#include "lrqat/base/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace lrqat {
namespace {

std::string hash(const std::string& text) {
  return sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
}

// The vectors of FIPS 180-4 and its padding boundaries (computed with sha256sum).
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(hash(std::string(55, 'a')), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  EXPECT_EQ(hash(std::string(56, 'a')), "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
  EXPECT_EQ(hash(std::string(64, 'a')), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

TEST(Sha256, PiecesGiveTheSameDigest) {
  const std::string text(1000, 'x');
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  Sha256 pieces;
  pieces.update(bytes.first(1))
      .update(bytes.subspan(1, 62))
      .update(bytes.subspan(63, 130))
      .update(bytes.subspan(193));
  EXPECT_EQ(pieces.hex_digest(), hash(text));
}

}  // namespace
}  // namespace lrqat
