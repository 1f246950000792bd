#include "lrqat/corpus/data_files.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/corpus/file_kind.h"

namespace lrqat::corpus {
namespace {

namespace fs = std::filesystem;

constexpr double kLeastWeight = 1e-3, kMostWeight = 1e3;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_pattern(std::string_view text) { return text.find_first_of("*?[") != std::string_view::npos; }

bool is_address(std::string_view text) { return text.find("://") != std::string_view::npos; }

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

struct Entry {
  std::string path;
  double weight = 1.0;
};

// A name that is there is taken as it is, whatever stands in it.
Entry parse_entry(const std::string& text) {
  const std::size_t sign = text.rfind('=');
  if (sign == std::string::npos || sign == 0 || is_there(text)) return {text};
  const std::string_view number = std::string_view(text).substr(sign + 1);
  double weight = 0.0;
  const auto [end, fault] = std::from_chars(number.data(), number.data() + number.size(), weight);
  if (number.empty() || fault != std::errc{} || end != number.data() + number.size()) return {text};
  if (!(weight >= kLeastWeight && weight <= kMostWeight)) {
    throw UsageError(concat("`data` ", quote(text), ": the weight behind '=' must be from ", kLeastWeight,
                            " to ", kMostWeight, "; to leave a file out, do not name it"));
  }
  return {text.substr(0, sign), weight};
}

// Files by what they are called: of a folder, which has others too.
bool is_data_name(const fs::path& path) {
  constexpr std::array kExtensions{".txt",   ".text", ".raw", ".json", ".jsonl", ".ndjson", ".parquet",
                                   ".arrow", ".csv",  ".tsv", ".bz2",  ".zip",   ".tar"};
  constexpr std::array kDescriptions{"dataset_info.json", "dataset_infos.json", "dataset_dict.json",
                                     "state.json"};
  constexpr std::array kProse{"README", "readme",    "LICENSE",     "license",
                              "NOTICE", "CHANGELOG", "requirements"};
  const std::string name = path.filename().string(), extension = data_extension(path);
  if (std::find(kDescriptions.begin(), kDescriptions.end(), name) != kDescriptions.end()) return false;
  if (std::any_of(kProse.begin(), kProse.end(), [&](const char* word) { return name.starts_with(word); }))
    return false;
  if (extension.empty()) return path.has_extension();  // "part-0.gz"
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

std::vector<fs::path> files_below(const fs::path& folder) try {
  std::vector<fs::path> found;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
    if (is_hidden(it->path())) {
      if (it->is_directory()) it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      found.push_back(it->path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
} catch (const fs::filesystem_error& error) {
  fail(folder.string(), ": cannot be read as a folder of data: ", error.code().message());
}

// Those with the name of a data file; where there is none, those without any extension.
void add_folder(const fs::path& folder, double weight, DataFiles& out) {
  const std::vector<fs::path> found = files_below(folder);
  const bool any = std::any_of(found.begin(), found.end(), is_data_name);
  const std::size_t before = out.files.size();
  for (const fs::path& file : found) {
    if (any ? is_data_name(file) : file.extension().empty())
      out.files.push_back({file, weight});
    else
      out.others.push_back(file);
  }
  if (out.files.size() > before) return;
  fail(folder.string(),
       ": a folder without data files: looked for .txt, .jsonl, .json, .ndjson, also with .gz, .xz ",
       "or .zst behind it, found ", found.empty() ? "no file" : quote(found.front().filename().string()),
       found.size() > 1 ? concat(" and ", found.size() - 1, " more") : "",
       "; name the files themselves to read them");
}

// Paths below `base` that fit the components of a pattern from `next` on.
void match(const fs::path& base, const std::vector<std::string>& components, std::size_t next,
           std::vector<fs::path>& found) {
  if (next == components.size()) return found.push_back(base);
  const std::string& component = components[next];
  if (!is_pattern(component)) {
    if (is_there(base / component)) match(base / component, components, next + 1, found);
    return;
  }
  const bool any_depth = component == "**";
  if (any_depth && next + 1 < components.size()) match(base, components, next + 1, found);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(base.empty() ? "." : base, ignored)) {
    const fs::path path = base / entry.path().filename();
    if (any_depth) {
      if (is_hidden(path)) continue;
      if (!entry.is_directory(ignored)) {
        if (next + 1 == components.size()) found.push_back(path);
      } else if (!entry.is_symlink(ignored)) {  // links may lead back to where they are
        match(path, components, next, found);
      }
    } else if (::fnmatch(component.c_str(), path.filename().c_str(), FNM_PERIOD) == 0) {
      match(path, components, next + 1, found);
    }
  }
}

std::vector<fs::path> paths_of_pattern(const fs::path& pattern) {
  std::vector<std::string> components;
  for (const fs::path& part : pattern.relative_path()) components.push_back(part.string());
  std::vector<fs::path> found;
  match(pattern.root_path(), components, 0, found);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

void add_pattern(const std::string& pattern, double weight, DataFiles& out) {
  const std::vector<fs::path> found = paths_of_pattern(pattern);
  if (found.empty()) fail("`data` ", quote(pattern), ": no file fits this pattern");
  for (const fs::path& one : found) {
    if (is_folder(one))
      add_folder(one, weight, out);
    else
      out.files.push_back({one, weight});
  }
}

// OWNER/NAME of a data set, from what may be one: "owner/name" in the working directory, or an address.
std::optional<std::string> data_set_name(const std::string& entry) {
  for (const std::string_view prefix :
       {"https://huggingface.co/datasets/", "https://hf.co/datasets/", "hf://datasets/"}) {
    if (!entry.starts_with(prefix)) continue;
    const std::string_view rest = std::string_view(entry).substr(prefix.size());
    const std::size_t owner = rest.find('/');
    if (owner == std::string_view::npos) return std::string(rest);
    return std::string(rest.substr(0, rest.find_first_of("/?@", owner + 1)));
  }
  if (is_address(entry)) return std::nullopt;
  const fs::path path = fs::path(entry).is_absolute() ? fs::path(entry).lexically_relative(fs::current_path())
                                                      : fs::path(entry);
  const auto parts = std::distance(path.begin(), path.end());
  if (parts < 1 || parts > 2 || path.begin()->string() == ".." || is_data_name(path)) return std::nullopt;
  if (parts == 2 ? is_there(*path.begin()) : path.has_extension()) return std::nullopt;
  return path.string();
}

[[noreturn]] void fail_missing(const std::string& entry) {
  if (const auto name = data_set_name(entry)) {
    const std::string file = name->substr(name->rfind('/') + 1) + ".jsonl";
    fail("`data` ", quote(entry), ": there is no such file or folder. Is it the data set ", *name,
         " of Hugging Face, download it and give the file: python3 -c 'import datasets; "
         "datasets.load_dataset(\"",
         *name, "\", split=\"train\").to_json(\"", file, "\")' (pip install datasets), then `data` ", file);
  }
  if (is_address(entry))
    fail("`data` ", quote(entry), ": an address; download the file first (curl -LO ", entry,
         ") and give its name");
  fail("`data` ", quote(entry), ": there is no such file or folder");
}

}  // namespace

std::string absolute_entry(const std::string& entry) {
  if (entry.empty() || is_address(entry)) return entry;
  return fs::absolute(entry).lexically_normal().string();
}

DataFiles find_data_files(const std::vector<std::string>& entries) {
  DataFiles out;
  for (const std::string& text : entries) {
    const Entry entry = parse_entry(text);
    if (is_folder(entry.path))
      add_folder(entry.path, entry.weight, out);
    else if (is_there(entry.path))
      out.files.push_back({entry.path, entry.weight});
    else if (is_pattern(entry.path) && !is_address(entry.path))
      add_pattern(entry.path, entry.weight, out);
    else
      fail_missing(entry.path);
  }
  return out;
}

std::vector<fs::path> entry_paths(const std::vector<std::string>& entries) {
  std::vector<fs::path> paths;
  for (const std::string& text : entries) {
    const fs::path path = parse_entry(text).path;
    if (is_there(path) || !is_pattern(path.string())) {
      paths.push_back(path);
    } else {
      const std::vector<fs::path> found = paths_of_pattern(path);
      paths.insert(paths.end(), found.begin(), found.end());
    }
  }
  return paths;
}

}  // namespace lrqat::corpus
