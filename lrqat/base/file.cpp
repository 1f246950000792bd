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
#include <mutex>

#include "lrqat/base/error.h"

namespace lrqat {
namespace fs = std::filesystem;

// An entry of the list of mapped files. Entries are used again and never freed, so that a signal handler can
// walk the list at any time.
struct Mapping {
  std::atomic<const std::byte*> begin{nullptr};  // nullptr: the entry is free
  std::size_t size = 0;
  std::string path;
  Mapping* next = nullptr;
};

namespace {

std::atomic<Mapping*> first_mapping{nullptr};

Mapping* add_mapping(const fs::path& path, const std::byte* data, std::size_t size) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  Mapping* mapping = first_mapping.load();
  while (mapping != nullptr && mapping->begin.load() != nullptr) mapping = mapping->next;
  const bool is_new = mapping == nullptr;
  if (is_new) mapping = new Mapping;
  mapping->path = path.string();
  mapping->size = size;
  mapping->begin.store(data);
  if (is_new) {
    mapping->next = first_mapping.load();
    first_mapping.store(mapping);
  }
  return mapping;
}

std::string system_message() { return std::strerror(errno); }

// What a clone without git-lfs has in a large file's place: a few lines that name the content.
bool is_lfs_pointer(int descriptor, std::size_t size) {
  constexpr std::string_view kBegin = "version https://git-lfs.github.com/spec/";
  constexpr std::size_t kLongest = 1023;  // by git-lfs's specification
  std::array<char, kBegin.size()> begin{};
  return size <= kLongest && ::pread(descriptor, begin.data(), begin.size(), 0) == std::ssize(begin) &&
         std::string_view(begin.data(), begin.size()) == kBegin;
}

fs::path new_target(const fs::path& target, bool replace) {
  if (!replace && fs::exists(target)) {
    fail("output ", target.string(), " exists already: name another folder or remove it first");
  }
  return target;
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const int descriptor =
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe would wait for a writer
  if (descriptor < 0) fail("cannot open ", path.string(), ": ", system_message());
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail("cannot read ", path.string(), ": expected a regular file");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (is_lfs_pointer(descriptor, size_)) {
    ::close(descriptor);
    fail(path.string(), ": a git-lfs pointer of ", size_,
         " bytes, not the file itself: run git lfs pull in that folder");
  }
  if (size_ > 0) {
    void* address =
        ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (address == MAP_FAILED) {
      const std::string reason = system_message();
      ::close(descriptor);
      fail("cannot map ", path.string(), " (", size_, " bytes): ", reason);
    }
    data_ = static_cast<std::byte*>(address);
    mapping_ = add_mapping(path_, data_, size_);
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  mapping_->begin.store(nullptr);
  ::munmap(data_, size_);
}

const char* mapped_file_at(const void* address) {
  for (const Mapping* mapping = first_mapping.load(); mapping != nullptr; mapping = mapping->next) {
    const std::byte* begin = mapping->begin.load();
    if (begin != nullptr && address >= begin && address < begin + mapping->size) return mapping->path.c_str();
  }
  return nullptr;
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

AtomicFile::AtomicFile(fs::path target) : temporary_(std::move(target), Temporary::Kind::file) {}

void AtomicFile::write(std::span<const std::byte> data) {
  LRQAT_CHECK(!committed_, "write after commit");
  while (!data.empty()) {
    const ssize_t written =
        ::write(temporary_.descriptor(), data.data(), std::min<std::size_t>(data.size(), 1U << 30));
    if (written < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      const char* source = error == EFAULT ? mapped_file_at(data.data()) : nullptr;
      if (source != nullptr) fail(source, kCutShort);
      fail("cannot write ", temporary_.target().string(), ": ", std::strerror(error));
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

void AtomicFile::commit(const std::function<void(const fs::path&)>& verify) {
  LRQAT_CHECK(!committed_, "committed twice");
  if (::fsync(temporary_.descriptor()) != 0) {
    const int error = errno;
    fail("cannot write ", temporary_.target().string(), ": ", std::strerror(error));
  }
  if (verify) verify(temporary_.path());
  temporary_.take_name(/*replace=*/true);
  committed_ = true;
}

AtomicDirectory::AtomicDirectory(const fs::path& target, bool replace)
    : temporary_(new_target(target, replace), Temporary::Kind::folder), replace_(replace) {}

void AtomicDirectory::commit() {
  LRQAT_CHECK(!committed_, "committed twice");
  temporary_.take_name(replace_);
  committed_ = true;
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
