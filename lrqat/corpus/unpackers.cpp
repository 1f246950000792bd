#include "lrqat/corpus/unpackers.h"

#include <algorithm>
#include <string_view>

#include "lrqat/base/error.h"

namespace lrqat::corpus {
namespace {

using std::string_view_literals::operator""sv;

bool begins_with(std::span<const std::byte> begin, std::string_view magic) {
  return std::string_view(reinterpret_cast<const char*>(begin.data()), begin.size()).starts_with(magic);
}

bool is_gzip(std::span<const std::byte> begin) { return begins_with(begin, "\x1f\x8b"sv); }

bool is_xz(std::span<const std::byte> begin) {
  return begins_with(begin,
                     "\xfd"
                     "7zXZ\x00"sv);
}

// A frame, or one of the frames to be skipped that some programs begin with.
bool is_zstd(std::span<const std::byte> begin) {
  if (begins_with(begin, "\x28\xb5\x2f\xfd"sv)) return true;
  return begin.size() >= 4 && (begin[0] & std::byte{0xF0}) == std::byte{0x50} &&
         begins_with(begin.subspan(1), "\x2a\x4d\x18"sv);
}

constexpr Compression kCompressions[] = {
    {is_gzip, gzip_unpacker},
    {is_xz, xz_unpacker},
    {is_zstd, zstd_unpacker},
};

}  // namespace

void FileInput::advance(std::size_t bytes) {
  constexpr std::size_t kKept = std::size_t{16} << 20;
  position_ += bytes;
  if (position_ - released_ < kKept) return;
  file_.release(file_.bytes().subspan(released_, position_ - released_));
  released_ = position_;
}

const Compression* compression_of(std::span<const std::byte> begin) {
  const auto* found = std::find_if(std::begin(kCompressions), std::end(kCompressions),
                                   [&](const auto& c) { return c.is(begin); });
  return found == std::end(kCompressions) ? nullptr : found;
}

void fail_cut_off(const FileInput& input, const char* kind) {
  fail(input.name(), ": the ", kind, " file is cut off: it ends, after ", input.position(),
       " bytes, before its data does; copy or download it again");
}

void fail_damaged(const FileInput& input, const char* kind, const std::string& found) {
  fail(input.name(), ": the ", kind, " file is damaged (", found, ", about ", input.position(),
       " bytes into it); copy or download it again");
}

}  // namespace lrqat::corpus
