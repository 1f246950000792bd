#include "lrqat/base/temporary.h"

#include <fcntl.h>
#include <stdio.h>  // renameat2
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/error.h"

namespace lrqat {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMade = ".lrqat-tmp-", kAside = ".lrqat-old-";
constexpr std::size_t kDigits = 16;

fs::path beside(const fs::path& target, std::string_view mark) {
  std::random_device random;
  std::string name(mark);
  for (std::size_t i = 0; i < kDigits; ++i) name += "0123456789abcdef"[random() % 16];
  fs::path path = target;
  path += name;
  return path;
}

// Of `name` what follows the target's name and the mark; empty: it is no such name.
std::string_view suffix_of(std::string_view name, std::string_view target, std::string_view mark) {
  if (!name.starts_with(target) || !name.substr(target.size()).starts_with(mark)) return {};
  return name.substr(target.size() + mark.size());
}

// What users or other programs named is never taken for ours.
bool is_ours(std::string_view suffix) {
  return suffix.size() == kDigits && suffix.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// A lock on a file or folder that a living writer would hold; -1: one does, or nothing is there.
int lock_leftover(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) return -1;
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  ::close(descriptor);
  return -1;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

void create_parent(const fs::path& target) {
  const fs::path parent = target.parent_path();
  if (parent.empty()) return;
  std::error_code code;
  fs::create_directories(parent, code);
  if (code) fail("cannot create folder ", parent.string(), ": ", code.message());
}

int rename_with(const fs::path& from, const fs::path& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

bool is_unsupported(int error) { return error == EINVAL || error == ENOSYS || error == ENOTSUP; }

int plain_rename(const fs::path& from, const fs::path& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

// A link is what it leads to.
fs::path named_target(fs::path path) {
  const fs::path target = without_slash(std::move(path));
  std::error_code code;
  if (!fs::is_symlink(target, code)) return target;
  const fs::path followed = fs::canonical(target, code);
  return code ? target : followed;
}

}  // namespace

fs::path without_slash(fs::path path) {
  while ((!path.has_filename() || path.filename() == ".") && path.has_relative_path() &&
         path.has_parent_path())
    path = path.parent_path();
  return path;
}

void recover_target(const fs::path& target) {
  const std::string name = target.filename().string();
  const fs::path parent = target.has_parent_path() ? target.parent_path() : fs::path(".");
  std::vector<fs::path> made, aside;
  std::error_code code;
  for (auto entry = fs::directory_iterator(parent, code); !code && entry != fs::directory_iterator();
       entry.increment(code)) {
    const std::string other = entry->path().filename().string();
    if (is_ours(suffix_of(other, name, kMade))) made.push_back(parent / other);
    if (is_ours(suffix_of(other, name, kAside))) aside.push_back(parent / other);
  }
  made.insert(made.end(), aside.begin(), aside.end());
  for (const fs::path& path : made) {
    const int lock = lock_leftover(path);
    if (lock < 0) continue;
    const bool was_target = std::find(aside.begin(), aside.end(), path) != aside.end();
    if (!was_target || is_there(target) || rename_with(path, target, 0) != 0) fs::remove_all(path, code);
    ::close(lock);
  }
}

int replace_folder_in_two_steps(const fs::path& made, const fs::path& target) {
  const fs::path old = beside(target, kAside);
  const int lock = lock_leftover(target);  // so that nobody takes it for a leftover
  int error = plain_rename(target, old);
  if (error == 0) {
    error = plain_rename(made, target);
    std::error_code ignored;
    if (error != 0) {
      plain_rename(old, target);
    } else {
      fs::remove_all(old, ignored);
    }
  }
  if (lock >= 0) ::close(lock);
  return error;
}

void check_creatable(const fs::path& target) {
  fs::path first = named_target(target);  // of its folders, the first that would be made
  while (first.has_parent_path() && !is_there(first.parent_path())) first = first.parent_path();
  const Temporary probe(first, Temporary::Kind::folder);
}

Temporary::Temporary(fs::path target, Kind kind) : target_(named_target(std::move(target))), kind_(kind) {
  create_parent(target_);
  recover_target(target_);
  while (!create()) {
  }
}

// False where a sweep that saw it before its lock has removed it.
bool Temporary::create() {
  path_ = beside(target_, kMade);
  if (kind_ == Kind::folder) {
    if (::mkdir(path_.c_str(), 0755) != 0) {
      const int error = errno;
      fail("cannot create folder ", path_.string(), ": ", std::strerror(error));
    }
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  } else {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  }
  if (descriptor_ < 0) {
    const int error = errno;
    if (kind_ == Kind::folder && error == ENOENT) return false;
    fail("cannot create ", path_.string(), ": ", std::strerror(error));
  }
  ::flock(descriptor_, LOCK_EX);  // where there are no locks, leftovers stay, and nothing else is lost
  struct stat locked {
  }, named{};
  if (::fstat(descriptor_, &locked) == 0 && ::stat(path_.c_str(), &named) == 0 &&
      locked.st_ino == named.st_ino) {
    return true;
  }
  ::close(descriptor_);
  descriptor_ = -1;
  return false;
}

Temporary::~Temporary() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Temporary::take_name(bool replace) {
  int error = rename_with(path_, target_, RENAME_NOREPLACE);
  if (is_unsupported(error)) error = !replace && is_there(target_) ? EEXIST : plain_rename(path_, target_);
  if (error == EEXIST && replace) {
    if (kind_ == Kind::folder) return take_name_of_folder();
    error = plain_rename(path_, target_);
  }
  if (error == EEXIST || error == ENOTEMPTY) {
    fail("output ", target_.string(), " exists already: name another one or remove it first");
  }
  if (error != 0) fail("cannot write ", target_.string(), ": ", std::strerror(error));
  path_.clear();
}

void Temporary::take_name_of_folder() {
  int error = rename_with(path_, target_, RENAME_EXCHANGE);
  const bool exchanged = error == 0;
  if (is_unsupported(error)) error = replace_folder_in_two_steps(path_, target_);
  if (error != 0) fail("cannot write folder ", target_.string(), ": ", std::strerror(error));
  std::error_code ignored;
  if (exchanged) fs::remove_all(path_, ignored);  // what the target was
  path_.clear();
}

}  // namespace lrqat
