#include "lrqat/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "lrqat/base/error.h"

namespace lrqat {
namespace fs = std::filesystem;

namespace {

std::string system_message() { return std::strerror(errno); }

// A name beside `target` that no other process or thread uses; on the same file system, so rename is atomic.
fs::path temporary_beside(const fs::path& target) {
  static std::atomic<unsigned> counter{0};
  fs::path name = target;
  if (!name.has_filename()) name = name.parent_path();  // "out/" names the same folder as "out"
  name += concat(".tmp-", ::getpid(), "-", counter++);
  return name;
}

void create_parent(const fs::path& target) {
  const fs::path parent = target.parent_path();
  if (parent.empty()) return;
  std::error_code code;
  fs::create_directories(parent, code);
  if (code) fail("cannot create folder ", parent.string(), ": ", code.message());
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("cannot open ", path.string(), ": ", system_message());
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail("cannot read ", path.string(), ": expected a regular file");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ > 0) {
    void* address =
        ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (address == MAP_FAILED) {
      const std::string reason = system_message();
      ::close(descriptor);
      fail("cannot map ", path.string(), " (", size_, " bytes): ", reason);
    }
    data_ = static_cast<std::byte*>(address);
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (part.empty()) return;
  LRQAT_CHECK(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(part.data()) + part.size()) / page * page;
  if (end > begin)
    ::madvise(reinterpret_cast<void*>(begin), end - begin,
              MADV_DONTNEED);  // NOLINT(performance-no-int-to-ptr)
}

AtomicFile::AtomicFile(fs::path target) : target_(std::move(target)), temporary_(temporary_beside(target_)) {
  create_parent(target_);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("cannot create ", temporary_.string(), ": ", system_message());
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> data) {
  LRQAT_CHECK(descriptor_ >= 0, "write after commit");
  while (!data.empty()) {
    const ssize_t written = ::write(descriptor_, data.data(), std::min<std::size_t>(data.size(), 1U << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("cannot write ", target_.string(), ": ", system_message());
    }
    data = data.subspan(static_cast<std::size_t>(written));
    offset_ += static_cast<std::uint64_t>(written);
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

void AtomicFile::pad_to(std::uint64_t offset) {
  LRQAT_CHECK(offset >= offset_, "cannot pad backwards");
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (offset_ < offset) {
    write(std::span(kZeros).first(std::min<std::uint64_t>(kZeros.size(), offset - offset_)));
  }
}

void AtomicFile::commit() {
  LRQAT_CHECK(descriptor_ >= 0, "committed twice");
  const bool synced = ::fsync(descriptor_) == 0;
  const std::string reason = system_message();
  ::close(descriptor_);
  descriptor_ = -1;
  if (!synced || ::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const std::string why = synced ? system_message() : reason;
    ::unlink(temporary_.c_str());
    fail("cannot write ", target_.string(), ": ", why);
  }
}

AtomicDirectory::AtomicDirectory(fs::path target, bool replace)
    : target_(std::move(target)), temporary_(temporary_beside(target_)), replace_(replace) {
  if (!replace_ && fs::exists(target_)) {
    fail("output ", target_.string(), " exists already: name another folder or remove it first");
  }
  create_parent(target_);
  std::error_code code;
  if (!fs::create_directory(temporary_, code)) {
    fail("cannot create folder ", temporary_.string(), ": ", code.message());
  }
}

AtomicDirectory::~AtomicDirectory() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  LRQAT_CHECK(!committed_, "committed twice");
  fs::path old;
  if (replace_ && fs::exists(target_)) {
    old = temporary_beside(target_);
    fs::rename(target_, old);
  }
  std::error_code code;
  fs::rename(temporary_, target_, code);
  if (code) fail("cannot write folder ", target_.string(), ": ", code.message());
  committed_ = true;
  std::error_code ignored;
  if (!old.empty()) fs::remove_all(old, ignored);
}

std::string read_text_file(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_text_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace lrqat
