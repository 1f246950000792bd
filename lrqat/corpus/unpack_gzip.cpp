#include <zlib.h>

#include <algorithm>
#include <limits>

#include "lrqat/base/error.h"
#include "lrqat/corpus/unpackers.h"

namespace lrqat::corpus {
namespace {

constexpr const char* kKind = "gzip";

class GzipUnpacker final : public Unpacker {
 public:
  GzipUnpacker() {
    constexpr int kGzipOnly = 16;
    if (::inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) fail("zlib could not be started");
  }
  ~GzipUnpacker() override { ::inflateEnd(&stream_); }
  GzipUnpacker(const GzipUnpacker&) = delete;
  GzipUnpacker& operator=(const GzipUnpacker&) = delete;

  std::size_t unpack(FileInput& input, std::span<char> out) override {
    std::size_t done = 0;
    while (done < out.size()) {
      if (between_members_ && !begin_member(input)) break;
      const std::size_t before = input.position(), added = inflate_some(input, out.subspan(done));
      if (added == 0 && input.position() == before && !between_members_) fail_cut_off(input, kKind);
      done += added;
    }
    return done;
  }

 private:
  // As gzip does, zeros behind a member are passed over (tapes are filled up with them).
  bool begin_member(FileInput& input) {
    while (!input.rest().empty() && input.rest()[0] == std::byte{0}) input.advance(1);
    if (input.rest().empty()) return false;
    if (input.rest()[0] != std::byte{0x1f} || (input.rest().size() > 1 && input.rest()[1] != std::byte{0x8b}))
      fail_damaged(input, kKind, "something follows that is not gzip data");
    ::inflateReset(&stream_);
    between_members_ = false;
    return true;
  }

  std::size_t inflate_some(FileInput& input, std::span<char> out) {
    const auto rest = input.rest();
    constexpr std::size_t kMost = std::numeric_limits<uInt>::max();
    const auto in = static_cast<uInt>(std::min(rest.size(), kMost));
    const auto room = static_cast<uInt>(std::min(out.size(), kMost));
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest.data()));  // zlib only reads it
    stream_.avail_in = in;
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = room;
    const int result = ::inflate(&stream_, Z_NO_FLUSH);
    input.advance(in - stream_.avail_in);
    if (result == Z_STREAM_END) {
      between_members_ = true;
    } else if (result == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail_damaged(input, kKind, stream_.msg != nullptr ? stream_.msg : "a dictionary is asked for");
    }
    return room - stream_.avail_out;
  }

  z_stream stream_{};
  bool between_members_ = true;
};

}  // namespace

std::unique_ptr<Unpacker> gzip_unpacker() { return std::make_unique<GzipUnpacker>(); }

}  // namespace lrqat::corpus
