// Rows of training data: JSON objects in one of the layouts that data sets are published in, either one a
// line or as one array.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/corpus/documents.h"

namespace lrqat::corpus {

// Whether a text holds rows: as its name says (.json, .jsonl, .ndjson), or because it begins as they do, with
// a whole object on its first line or an array of objects.
bool holds_rows(std::string_view text, const std::filesystem::path& path);

// The rows' texts. All rows must have the layout of the first; null counts as empty, other keys are not
// looked at, and rows without a text to learn are left out. Error naming file and line.
std::vector<Document> read_rows(std::string_view text, const std::filesystem::path& path);

}  // namespace lrqat::corpus
