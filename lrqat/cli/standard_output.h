// What a command prints is its result: a full disk or a closed pipe must not look like success.
#pragma once

namespace lrqat::cli {

// Error where something printed did not reach standard output. Cheap; for commands that print much.
void check_standard_output();
// The same after writing out what is still buffered. Every command ends with it.
void flush_standard_output();

}  // namespace lrqat::cli
