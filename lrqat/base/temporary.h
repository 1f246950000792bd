// The name under which a file or folder is made before it gets its own: TARGET.lrqat-tmp-<16 hex digits>,
// beside it. Whoever makes it holds a lock (flock) on it, which ends with the program; what is not locked
// was left by a killed one, and the next writer of the same target removes it.
#pragma once

#include <filesystem>

namespace lrqat {

class Temporary {
 public:
  enum class Kind { file, folder };

  // Removes what killed writers of `target` left, makes its folder where there is none, and creates the
  // temporary. A target that is a symbolic link stays one: what it leads to is written.
  Temporary(std::filesystem::path target, Kind kind);
  ~Temporary();  // removes it, unless it has the target's name
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& target() const { return target_; }
  int descriptor() const { return descriptor_; }  // of the file, for writing

  // Gives the target's name away in one step: a kill leaves the old one or the new one. Error where the
  // target exists and `replace` is false.
  void take_name(bool replace);

 private:
  bool create();
  void take_name_of_folder();

  std::filesystem::path target_;
  std::filesystem::path path_;
  Kind kind_;
  int descriptor_ = -1;
};

// "out/" and "out/." are the folder "out".
std::filesystem::path without_slash(std::filesystem::path path);

// Error where nothing of this name could be made: its folder is none, or may not be written to. Leaves
// nothing.
void check_creatable(const std::filesystem::path& target);

// For file systems that do not exchange names: moves `target` aside to TARGET.lrqat-old-<16 hex digits>,
// then `made` into its place. Killed in between, it leaves no target; recover_target, which every writer
// calls first, brings it back. Returns 0 or the system's error number.
int replace_folder_in_two_steps(const std::filesystem::path& made, const std::filesystem::path& target);

// Removes what killed writers of `target` left beside it, and brings back a target that one moved aside.
void recover_target(const std::filesystem::path& target);

}  // namespace lrqat
