// Resident memory as the kernel counts it.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>

namespace lrqat {

std::int64_t peak_resident_bytes();     // VmHWM of this process, 0 where /proc is not there
std::int64_t current_resident_bytes();  // VmRSS
// What can still be used without swapping: MemAvailable of the system, or less where a control group (of a
// container, of a batch system) limits this process. `root`: where /proc and /sys are looked for.
std::int64_t available_memory_bytes(const std::filesystem::path& root = "/");
void reset_peak_resident();  // sets VmHWM back to VmRSS (writes /proc/self/clear_refs; best effort)

// Gives the heap's free pages back to the system. Large tensors of different lives leave holes that the C
// library keeps otherwise.
void release_free_memory();

// Whether an exception, of the standard library or of LibTorch, says that memory has run out.
bool is_out_of_memory(const std::exception& error);

}  // namespace lrqat
