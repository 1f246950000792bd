// A mapped file that another program cuts short ends in SIGBUS at the next read. This says which file it was.
#pragma once

namespace lrqat::cli {

void guard_mapped_files();  // from now on, for the whole program

}  // namespace lrqat::cli
