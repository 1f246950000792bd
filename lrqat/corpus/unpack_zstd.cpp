#include <zstd.h>
#include <zstd_errors.h>

#include "lrqat/base/error.h"
#include "lrqat/corpus/unpackers.h"

namespace lrqat::corpus {
namespace {

constexpr const char* kKind = "Zstandard";

class ZstdUnpacker final : public Unpacker {
 public:
  ZstdUnpacker() : stream_(::ZSTD_createDStream()) {
    if (stream_ == nullptr) throw std::bad_alloc();
  }
  ~ZstdUnpacker() override { ::ZSTD_freeDStream(stream_); }
  ZstdUnpacker(const ZstdUnpacker&) = delete;
  ZstdUnpacker& operator=(const ZstdUnpacker&) = delete;

  std::size_t unpack(FileInput& input, std::span<char> out) override {
    ZSTD_outBuffer target{out.data(), out.size(), 0};
    while (target.pos < target.size) {
      const auto rest = input.rest();
      if (rest.empty() && !inside_frame_) break;
      ZSTD_inBuffer source{rest.data(), rest.size(), 0};
      const std::size_t before = target.pos;
      const std::size_t result = ::ZSTD_decompressStream(stream_, &target, &source);
      input.advance(source.pos);
      if (::ZSTD_isError(result) != 0) fail_with(result, input);
      inside_frame_ = result != 0;
      if (source.pos == 0 && target.pos == before) fail_cut_off(input, kKind);
    }
    return target.pos;
  }

 private:
  [[noreturn]] static void fail_with(std::size_t result, const FileInput& input) {
    const ZSTD_ErrorCode code = ::ZSTD_getErrorCode(result);
    if (code == ZSTD_error_memory_allocation) throw std::bad_alloc();
    if (code == ZSTD_error_frameParameter_windowTooLarge)
      fail(input.name(),
           ": the Zstandard file needs more memory to be unpacked than most do (a window of over 128 MiB); "
           "unpack it first: unzstd -M2048 ",
           input.name());
    if (code == ZSTD_error_prefix_unknown)
      fail_damaged(input, kKind, "something follows that is not Zstandard data");
    fail_damaged(input, kKind, ::ZSTD_getErrorName(result));
  }

  ZSTD_DStream* stream_;
  bool inside_frame_ = false;
};

}  // namespace

std::unique_ptr<Unpacker> zstd_unpacker() { return std::make_unique<ZstdUnpacker>(); }

}  // namespace lrqat::corpus
