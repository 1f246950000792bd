// A run while its student is prepared from calibration text: RUN/start holds the layers that are done
// (start/kept_blocks.h), from which a killed run goes on. The run's folder is there as soon as one of them
// is.
#pragma once

#include <functional>
#include <optional>

#include "lrqat/start/prepare.h"
#include "lrqat/train/run.h"

namespace lrqat::train {

// Runs `prepare` with the run's workspace. run: the one to continue, or none; then `create` makes it once
// something has to be kept. An Error says that what is done is kept, where it is.
void prepare_run(std::optional<Run>& run, const std::function<Run()>& create,
                 const std::function<void(const start::Workspace& space)>& prepare);

// The student is on disk as a whole.
void remove_start(const Run& run);

}  // namespace lrqat::train
