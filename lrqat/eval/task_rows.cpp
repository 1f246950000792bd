#include "lrqat/eval/task_rows.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/corpus/documents.h"
#include "lrqat/corpus/file_kind.h"
#include "lrqat/corpus/json_rows.h"
#include "lrqat/eval/task_filters.h"

namespace lrqat::eval {
namespace {

namespace fs = std::filesystem;

// How data sets spell the names of their splits.
std::vector<std::string> spellings(const std::string& split) {
  if (split == "valid" || split == "validation" || split == "dev") {
    const std::vector<std::string> validation = {"valid", "validation", "val", "dev", "Dev"};
    return split == "dev" ? std::vector<std::string>{"dev", "valid", "validation", "val", "Dev"} : validation;
  }
  if (split == "test") return {"test", "Test"};
  if (split == "train") return {"train", "Train"};
  return {split};
}

std::vector<std::string> candidates(const std::string& task, const std::string& split,
                                    const std::vector<std::string>& patterns) {
  constexpr std::string_view kMark = "{split}";
  std::vector<std::string> all;
  for (const char* ending : {"_", "-", "/"}) all.push_back(concat(task, ending, kMark, ".jsonl"));
  all.insert(all.end(), patterns.begin(), patterns.end());
  std::vector<std::string> names;
  for (const std::string& pattern : all) {
    const std::size_t mark = pattern.find(kMark);
    if (mark == std::string::npos) {
      names.push_back(pattern);
      continue;
    }
    for (const std::string& spelling : spellings(split)) {
      names.push_back(std::string(pattern).replace(mark, kMark.size(), spelling));
    }
  }
  return names;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::istringstream text(read_text_file(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(std::move(line));
  return lines;
}

// Labels published in a file of their own; empty where there is none.
std::vector<std::string> labels_beside(const fs::path& path) {
  const fs::path name = path.parent_path() / corpus::unpacked_name(path);
  const fs::path labels = name.parent_path() / (name.stem().string() + "-labels.lst");
  return fs::is_regular_file(labels) ? lines_of(labels) : std::vector<std::string>();
}

std::vector<TaskRow> json_rows(const fs::path& path) {
  const std::vector<std::string> labels = labels_beside(path);
  std::vector<TaskRow> rows;
  corpus::TextStream text(path);
  const corpus::RowForm form = corpus::row_form(text, /*is_json=*/true);
  corpus::read_json_rows(text, form, [&](Json row, const corpus::RowPlace& place) {
    if (rows.size() < labels.size() && !row.contains("label")) {
      row["label"] = std::string(python_strip(labels[rows.size()]));
    }
    rows.push_back({std::move(row), place.where});
  });
  return rows;
}

std::vector<TaskRow> raw_rows(const fs::path& path) {
  std::vector<TaskRow> rows;
  const std::string text = corpus::DocumentFile(path, {.format = "plain"}).read_whole();
  for (std::string& page : wikitext_pages(text)) {
    rows.push_back({Json{{"page", std::move(page)}}, concat(path.string(), ": page ", rows.size() + 1)});
  }
  return rows;
}

// " = Title = ", but no section's " = = Section = = ".
bool is_title(std::string_view line) {
  const std::string_view text = python_strip(line);
  const auto is_mark = [](std::string_view part) { return part == "= " || part == " ="; };
  if (text.size() < 4 || !is_mark(text.substr(0, 2)) || !is_mark(text.substr(text.size() - 2))) return false;
  return !text.starts_with("= =") && !text.ends_with("= =");
}

}  // namespace

fs::path find_task_file(const fs::path& folder, const std::string& task, const std::string& split,
                        const std::vector<std::string>& patterns) {
  if (!fs::is_directory(folder)) fail("`task-data` ", folder.string(), ": there is no such folder");
  const std::vector<std::string> names = candidates(task, split, patterns);
  for (const std::string& name : names) {
    for (const char* packed : {"", ".gz", ".xz", ".zst"}) {
      if (fs::is_regular_file(folder / (name + packed))) return folder / (name + packed);
    }
  }
  std::string tried;
  for (const std::string& name : names) tried += concat(tried.empty() ? "" : ", ", name);
  fail("task ", task, ": no file of its \"", split, "\" split in ", folder.string(), "; looked for ", tried);
}

std::vector<TaskRow> read_task_rows(const fs::path& path) {
  std::vector<TaskRow> rows = corpus::data_extension(path) == ".raw" ? raw_rows(path) : json_rows(path);
  if (rows.empty()) fail(path.string(), ": no rows in this file");
  return rows;
}

std::vector<std::string> wikitext_pages(const std::string& text) {
  std::vector<std::string> pages;
  std::string page;
  bool first = true;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (is_title(line)) {
      if (!python_strip(page).empty()) pages.push_back(page);
      page.clear();
      first = true;
    }
    if (!first) page += '\n';
    page += line;
    first = false;
    begin = end + 1;
  }
  if (!python_strip(page).empty()) pages.push_back(page);
  return pages;
}

}  // namespace lrqat::eval
