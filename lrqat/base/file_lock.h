// A lock that one program at a time holds. The kernel releases it when the program ends, however it ends, and
// it knows programs by their open files: it works where all of them have the same process id.
#pragma once

#include <filesystem>
#include <memory>

namespace lrqat {

class FileLock {
 public:
  // Locks `path`, a file (made where it is missing); null where somebody else, this program included, holds
  // it. On a file system without locks everybody gets one.
  static std::unique_ptr<FileLock> try_lock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace lrqat
