// Files: memory maps for reading, atomic replacement for writing. Nothing is ever half-written: data goes to
// a temporary name beside the target, is synced, and is renamed over it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lrqat/base/temporary.h"

namespace lrqat {

// A private copy-on-write map of a whole file. Pages are writable (LibTorch's from_blob wants that) but never
// reach the file. Empty files give an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Tells the kernel that these pages will not be needed soon, so that streaming through a file does not add
  // to the resident set. `part` must lie inside bytes().
  void release(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  struct Mapping* mapping_ = nullptr;  // its entry in the list behind mapped_file_at
};

// The path of the mapped file that holds the address; nullptr: none does. For handlers of SIGBUS, which is
// what a file that became shorter ends in: takes no lock and allocates nothing.
const char* mapped_file_at(const void* address);
// What to say of it.
inline constexpr const char* kCutShort =
    ": the file became shorter, or could not be read any more, while it was in use; leave it as it is while "
    "lrqat runs";

// Writes a file under a temporary name; commit() syncs and renames it to the target. Destroyed without
// commit(), it leaves nothing behind; killed, something that the next writer of the target removes.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> data);
  void write(std::string_view text);
  void pad_to(std::uint64_t offset);  // zero bytes up to `offset` from the file's start
  std::uint64_t offset() const { return offset_; }
  // `verify` gets the name of the complete file before it has the target's; what it throws leaves nothing.
  void commit(const std::function<void(const std::filesystem::path&)>& verify = {});

 private:
  Temporary temporary_;
  bool committed_ = false;
  std::uint64_t offset_ = 0;
};

// A folder that appears whole or not at all: fill path(), then commit() renames it to the target. An existing
// target is an Error at construction unless `replace` (then it is exchanged at commit and removed).
class AtomicDirectory {
 public:
  AtomicDirectory(const std::filesystem::path& target, bool replace);
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& path() const { return temporary_.path(); }
  void commit();

 private:
  Temporary temporary_;
  bool replace_;
  bool committed_ = false;
};

std::string read_text_file(const std::filesystem::path& path);
void write_text_file(const std::filesystem::path& path, std::string_view text);  // atomic

}  // namespace lrqat
