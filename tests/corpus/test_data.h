// What the tests of data files share: a folder, packed and encoded forms of a text.
#pragma once

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "lrqat/corpus/documents.h"
#include "lrqat/text/unicode.h"
#include "tests/formats/test_files.h"

namespace lrqat::corpus {

inline std::string gzip(std::string_view text) {
  z_stream stream{};
  if (::deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflate");
  std::string out(::deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (::deflate(&stream, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("deflate");
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

inline std::string xz(std::string_view text) {
  std::string out(::lzma_stream_buffer_bound(text.size()), '\0');
  std::size_t size = 0;
  if (::lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, nullptr,
                                reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                                reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()) != LZMA_OK)
    throw std::runtime_error("lzma");
  out.resize(size);
  return out;
}

inline std::string zstd(std::string_view text) {
  std::string out(::ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx* context = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the zstd program has it
  out.resize(::ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ::ZSTD_freeCCtx(context);
  return out;
}

inline std::string as_is(std::string_view text) { return std::string(text); }

// Two packed parts, one behind the other.
template <std::string (*pack)(std::string_view)>
std::string in_two(std::string_view text) {
  return pack(text.substr(0, text.size() / 2)) + pack(text.substr(text.size() / 2));
}

inline std::string utf16(std::string_view text, bool big, bool mark) {
  std::string out;
  const auto add = [&](std::uint32_t unit) {
    const char low = static_cast<char>(unit & 0xFF), high = static_cast<char>(unit >> 8);
    out += big ? high : low;
    out += big ? low : high;
  };
  if (mark) add(0xFEFF);
  for (std::size_t at = 0; at < text.size();) {
    std::uint32_t character = text::next_character(text, at);
    if (character >= 0x10000) {
      character -= 0x10000;
      add(0xD800 + (character >> 10));
      character = 0xDC00 + (character & 0x3FF);
    }
    add(character);
  }
  return out;
}

inline std::string with_mark(std::string_view text) { return "\xEF\xBB\xBF" + std::string(text); }
inline std::string little(std::string_view text) { return utf16(text, false, true); }
inline std::string big(std::string_view text) { return utf16(text, true, true); }
inline std::string little_unmarked(std::string_view text) { return utf16(text, false, false); }
inline std::string big_unmarked(std::string_view text) { return utf16(text, true, false); }
inline std::string windows(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\n' ? std::string("\r\n") : std::string(1, c);
  return out;
}

// The tests of a folder of files.
class DataFolder : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories((folder_.path() / name).parent_path());
    return folder_.write(name, bytes);
  }

  // What reading the file says.
  std::string error_of(const std::string& name, std::string_view bytes,
                       const ReadOptions& options = {}) const {
    try {
      read_documents(write(name, bytes), options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  void expect_error(const std::string& name, std::string_view bytes, const std::string& expected,
                    const ReadOptions& options = {}) const {
    const std::string error = error_of(name, bytes, options);
    EXPECT_NE(error.find(expected), std::string::npos) << "expected " << expected << "\nfound " << error;
  }

  formats::TemporaryFolder folder_;
};

}  // namespace lrqat::corpus
