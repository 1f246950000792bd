#include "lrqat/base/memory.h"

#include <fstream>
#include <string>

#ifdef __GLIBC__  // known once a header of the library has been read
#include <malloc.h>
#endif

namespace lrqat {
namespace {

// A line "field:  n kB" of one of the kernel's files.
std::int64_t field_bytes(const char* file, const std::string& field) {
  std::ifstream status(file);
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field, 0) == 0) return std::stoll(line.substr(field.size())) * 1024;
  }
  return 0;
}

}  // namespace

std::int64_t peak_resident_bytes() { return field_bytes("/proc/self/status", "VmHWM:"); }
std::int64_t current_resident_bytes() { return field_bytes("/proc/self/status", "VmRSS:"); }
std::int64_t available_memory_bytes() { return field_bytes("/proc/meminfo", "MemAvailable:"); }

void reset_peak_resident() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << 5;
}

void release_free_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace lrqat
