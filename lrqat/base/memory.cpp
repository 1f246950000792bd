#include "lrqat/base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include "lrqat/base/error.h"

#ifdef __GLIBC__  // known once a header of the library has been read
#include <malloc.h>
#endif

namespace lrqat {
namespace {

namespace fs = std::filesystem;

// The number behind the first line that begins with "field " or "field:"; nothing where there is none.
std::optional<std::int64_t> field_of(const fs::path& file, const std::string& field) {
  std::ifstream lines(file);
  std::string name;
  for (std::int64_t value = 0; lines >> name;) {
    if (name == field && lines >> value) return value;
    lines.clear();
    lines.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

std::int64_t field_bytes(const fs::path& file, const std::string& field) {
  return field_of(file, field).value_or(0) * 1024;  // the kernel's "kB"
}

// A file that holds one number; nothing where it holds another word ("max") or is not there.
std::optional<std::int64_t> number_in(const fs::path& file) {
  std::ifstream stream(file);
  std::int64_t value = 0;
  if (stream >> value) return value;
  return std::nullopt;
}

// The names of the two versions of control groups.
struct GroupFiles {
  const char* limit;
  const char* high;  // above it the kernel slows the group down; null: no such file
  const char* usage;
  const char* cache[2];  // of memory.stat: pages of files, which the kernel takes back when it needs memory
};
constexpr GroupFiles kVersion1{
    "memory.limit_in_bytes", nullptr, "memory.usage_in_bytes", {"total_inactive_file", "total_active_file"}};
constexpr GroupFiles kVersion2{
    "memory.max", "memory.high", "memory.current", {"inactive_file", "active_file"}};

std::optional<std::int64_t> smaller(std::optional<std::int64_t> a, std::optional<std::int64_t> b) {
  return a && b ? std::min(*a, *b) : (a ? a : b);
}

// What one group has left; nothing where it has no limit.
std::optional<std::int64_t> left_in_group(const fs::path& group, const GroupFiles& files) {
  auto limit = number_in(group / files.limit);
  if (files.high != nullptr) limit = smaller(limit, number_in(group / files.high));
  const auto usage = number_in(group / files.usage);
  if (!limit || !usage) return std::nullopt;
  std::int64_t cache = 0;
  for (const char* name : files.cache) cache += field_of(group / "memory.stat", name).value_or(0);
  return std::max<std::int64_t>(*limit - std::max<std::int64_t>(*usage - cache, 0), 0);
}

// The least that a group and those above it have left. In a container the group's path may be the host's:
// then what lies at the mount is the container's own.
std::optional<std::int64_t> left_in_groups(const fs::path& mount, const fs::path& path,
                                           const GroupFiles& files) {
  std::optional<std::int64_t> least = left_in_group(mount, files);
  fs::path group = mount;
  for (const fs::path& part : path.relative_path()) {
    group /= part;
    least = smaller(least, left_in_group(group, files));
  }
  return least;
}

// This process's line of /proc/self/cgroup: "0::PATH" of version 2, "N:memory:PATH" of version 1.
std::optional<std::int64_t> left_in_control_groups(const fs::path& root) {
  std::ifstream lines(root / "proc/self/cgroup");
  const fs::path mount = root / "sys/fs/cgroup";
  std::optional<std::int64_t> least;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = concat(",", line.substr(first + 1, second - first - 1), ",");
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") least = smaller(least, left_in_groups(mount, path, kVersion2));
    if (controllers.find(",memory,") != std::string::npos)
      least = smaller(least, left_in_groups(mount / "memory", path, kVersion1));
  }
  return least;
}

}  // namespace

std::int64_t peak_resident_bytes() { return field_bytes("/proc/self/status", "VmHWM:"); }
std::int64_t current_resident_bytes() { return field_bytes("/proc/self/status", "VmRSS:"); }

std::int64_t available_memory_bytes(const fs::path& root) {
  const std::int64_t machine = field_bytes(root / "proc/meminfo", "MemAvailable:");
  return smaller(machine, left_in_control_groups(root)).value();
}

void reset_peak_resident() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << 5;
}

void release_free_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

bool is_out_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  const std::string_view text = error.what();  // LibTorch's exceptions are of a type that is not known here
  return text.find("DefaultCPUAllocator") != std::string_view::npos ||
         text.find("can't allocate memory") != std::string_view::npos;
}

}  // namespace lrqat
