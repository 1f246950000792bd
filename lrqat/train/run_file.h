// How the files of a run are read: whatever is wrong with one, its reader learns which file it is and what
// can be done.
#pragma once

#include <exception>
#include <filesystem>
#include <string>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"

namespace lrqat::train {

inline constexpr const char* kDamaged =
    ": the run's file is damaged or was changed; put a copy of it back, or start a new run";

// What read() returns.
template <typename Read>
auto read_run_file(const std::filesystem::path& path, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    const std::string what = error.what();
    fail(what.find(path.string()) == std::string::npos ? path.string() + ": " : "", what, kDamaged);
  } catch (const std::exception& error) {
    if (is_out_of_memory(error)) throw;
    fail(path.string(), kDamaged);
  }
}

}  // namespace lrqat::train
