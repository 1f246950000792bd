#include "lrqat/train/run_start.h"

#include "lrqat/base/error.h"

namespace lrqat::train {

namespace fs = std::filesystem;

void prepare_run(std::optional<Run>& run, const std::function<Run()>& create,
                 const std::function<void(const start::Workspace& space)>& prepare) {
  start::Workspace space;
  if (run && run->is_starting()) space.begun = run->start_folder();
  space.folder = [&] {
    if (!run) run = create();
    fs::create_directories(run->start_folder());
    run->publish();  // with this folder, so that it is never taken for a damaged run
    return run->start_folder();
  };
  try {
    prepare(space);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    if (!run || !run->is_starting()) throw;
    const std::string path = run->path().string();
    fail(error.what(), "; layers that are prepared are kept: `lrqat train --resume --out ", path,
         "` goes on, or remove ", path);
  }
}

void remove_start(const Run& run) { fs::remove_all(run.start_folder()); }

}  // namespace lrqat::train
