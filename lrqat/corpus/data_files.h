// What `data` names, as files: a file, a folder (all data files below it), or a pattern with *, ?, [] or **
// in quotes; each with =WEIGHT behind it where it weighs more or less than others.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lrqat::corpus {

struct DataFile {
  std::filesystem::path path;
  double weight = 1.0;  // how often its text is seen for each time that a text of weight 1 is
};

struct DataFiles {
  std::vector<DataFile> files;                // as named; those of a folder or a pattern by name
  std::vector<std::filesystem::path> others;  // files of folders that are not read, by their names
};

// An entry that means the same in every working directory. Addresses (https://…) stay as they are.
std::string absolute_entry(const std::string& entry);

// Error where an entry names nothing: for a data set of Hugging Face, or another address, with how to
// download it.
DataFiles find_data_files(const std::vector<std::string>& entries);

// What the entries name, whether it is there or not: files, folders, and what fits a pattern now.
std::vector<std::filesystem::path> entry_paths(const std::vector<std::string>& entries);

}  // namespace lrqat::corpus
