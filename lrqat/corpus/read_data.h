// What everything that takes `data` goes through: the files that it names, opened one by one, and what the
// user is told of them.
#pragma once

#include <functional>

#include "lrqat/base/progress.h"
#include "lrqat/corpus/data_files.h"
#include "lrqat/corpus/documents.h"

namespace lrqat::corpus {

// Gives each of the files to `read`, which reads it to its end. `progress` is told what files of a folder are
// not read, how many rows were left out, and how conversations became text.
void read_data(const DataFiles& data, const ReadOptions& options, ProgressReporter& progress,
               const std::function<void(const DataFile& file, DocumentFile& documents)>& read);

}  // namespace lrqat::corpus
