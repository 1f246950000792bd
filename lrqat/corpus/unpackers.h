// The unpackers behind open_bytes (byte_source.h): one for each kind of compression.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "lrqat/base/file.h"

namespace lrqat::corpus {

// A mapped file that is read from its beginning to its end; what has been read leaves the resident memory.
class FileInput {
 public:
  explicit FileInput(const std::filesystem::path& path) : file_(path) {}

  std::string name() const { return file_.path().string(); }
  std::span<const std::byte> rest() const { return file_.bytes().subspan(position_); }
  std::size_t position() const { return position_; }
  void advance(std::size_t bytes);

 private:
  MappedFile file_;
  std::size_t position_ = 0;
  std::size_t released_ = 0;
};

// Stretches of unpacked bytes, one member, stream or frame of a file after another.
class Unpacker {
 public:
  virtual ~Unpacker() = default;
  // Unpacks into `out` until it is full or the input is at its end; how much it was. Less than out.size():
  // the end. Error naming the file where it is damaged or cut off.
  virtual std::size_t unpack(FileInput& input, std::span<char> out) = 0;
};

struct Compression {
  bool (*is)(std::span<const std::byte> begin);  // by the file's first bytes
  std::unique_ptr<Unpacker> (*unpacker)();
};

// Of this file; nullptr: it is not compressed in a way that is unpacked here.
const Compression* compression_of(std::span<const std::byte> begin);

std::unique_ptr<Unpacker> gzip_unpacker();
std::unique_ptr<Unpacker> xz_unpacker();
std::unique_ptr<Unpacker> zstd_unpacker();

[[noreturn]] void fail_cut_off(const FileInput& input, const char* kind);
[[noreturn]] void fail_damaged(const FileInput& input, const char* kind, const std::string& found);

}  // namespace lrqat::corpus
