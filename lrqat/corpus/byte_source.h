// Bytes of a file one after another, unpacked on the way: gzip (all members), xz (all streams) and Zstandard
// (all frames) are known by their first bytes, whatever the file is called. Nothing is ever unpacked as a
// whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace lrqat::corpus {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills `out` from its beginning; less than its size: the end is reached.
  virtual std::size_t read(std::span<char> out) = 0;
  virtual std::int64_t position() const = 0;  // bytes of the file that have been read so far
  virtual bool is_packed() const { return false; }
};

// Error where the file cannot be opened; a packed one that is damaged or cut off is an Error of read().
std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path);

// Bytes that are in memory, which must stay there.
std::unique_ptr<ByteSource> bytes_in_memory(std::span<const char> bytes);

}  // namespace lrqat::corpus
