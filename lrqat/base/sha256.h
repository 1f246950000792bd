// SHA-256 (FIPS 180-4), for checksums in `inspect` and `convert`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lrqat {

class Sha256 {
 public:
  Sha256& update(std::span<const std::byte> data);
  std::string hex_digest();  // finishes; the object is not to be used afterwards

 private:
  void compress(const std::byte* block);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> buffer_{};
  std::size_t buffered_ = 0;
  std::uint64_t length_ = 0;
};

std::string sha256_hex(std::span<const std::byte> data);

}  // namespace lrqat
