#include <lzma.h>

#include "lrqat/base/error.h"
#include "lrqat/corpus/unpackers.h"

namespace lrqat::corpus {
namespace {

constexpr const char* kKind = "xz";
constexpr std::uint64_t kMostMemory = std::uint64_t{512} << 20;  // xz -9 needs 65 MiB

class XzUnpacker final : public Unpacker {
 public:
  XzUnpacker() {
    if (::lzma_stream_decoder(&stream_, kMostMemory, LZMA_CONCATENATED) != LZMA_OK) throw std::bad_alloc();
  }
  ~XzUnpacker() override { ::lzma_end(&stream_); }
  XzUnpacker(const XzUnpacker&) = delete;
  XzUnpacker& operator=(const XzUnpacker&) = delete;

  std::size_t unpack(FileInput& input, std::span<char> out) override {
    stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    stream_.avail_out = out.size();
    while (stream_.avail_out > 0 && !at_end_) {
      const auto rest = input.rest();
      stream_.next_in = reinterpret_cast<const std::uint8_t*>(rest.data());
      stream_.avail_in = rest.size();
      const lzma_ret result = ::lzma_code(&stream_, LZMA_FINISH);  // all of the file is there
      input.advance(rest.size() - stream_.avail_in);
      if (result == LZMA_STREAM_END)
        at_end_ = true;
      else if (result != LZMA_OK)
        fail_with(result, input);
    }
    return out.size() - stream_.avail_out;
  }

 private:
  [[noreturn]] static void fail_with(lzma_ret result, const FileInput& input) {
    if (result == LZMA_MEM_ERROR) throw std::bad_alloc();
    if (result == LZMA_BUF_ERROR) fail_cut_off(input, kKind);
    if (result == LZMA_MEMLIMIT_ERROR)
      fail(input.name(), ": the xz file needs more than ", kMostMemory >> 20,
           " MiB to be unpacked; unpack it first: unxz -k ", input.name());
    if (result == LZMA_OPTIONS_ERROR) fail_damaged(input, kKind, "options that liblzma does not know");
    if (result == LZMA_FORMAT_ERROR) fail_damaged(input, kKind, "something follows that is not xz data");
    fail_damaged(input, kKind, "its check sums do not hold");
  }

  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<Unpacker> xz_unpacker() { return std::make_unique<XzUnpacker>(); }

}  // namespace lrqat::corpus
