// The rows of a task: found by the names that data sets' files have, read from JSON rows (or WikiText's raw
// text, cut into pages), packed or not (corpus/byte_source.h). Every error names file and line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lrqat/eval/task.h"

namespace lrqat::eval {

struct TaskRow {
  Json row;
  std::string where;  // "path:line"
};

// The file of a split ("valid", "test", "train", "dev") in `folder`: one of `patterns` (with {split} for any
// spelling of the split), else <task>_{split}.jsonl, <task>-{split}.jsonl or <task>/{split}.jsonl, each also
// with .gz, .xz or .zst behind it. Error with the names that were looked for.
std::filesystem::path find_task_file(const std::filesystem::path& folder, const std::string& task,
                                     const std::string& split, const std::vector<std::string>& patterns);

// Blank lines are skipped. Where the labels are published beside the rows (NAME-labels.lst, a line a row), a
// row without "label" gets its line. Error where there is no row.
std::vector<TaskRow> read_task_rows(const std::filesystem::path& path);

// WikiText's raw text as pages, each beginning with its title line " = Title = ".
std::vector<std::string> wikitext_pages(const std::string& text);

}  // namespace lrqat::eval
