// Split GGUF files, as llama-gguf-split writes them: every part has split.no, split.count and
// split.tensors.count, the first one the model's metadata too.
#include <array>
#include <cstdio>

#include "lrqat/formats/gguf_part.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNumber = "split.no";
constexpr const char* kCount = "split.count";
constexpr const char* kTensors = "split.tensors.count";
constexpr std::int64_t kMostParts = 99'999;  // five digits

std::int64_t split_key(const GgufPart& part, const char* key) {
  const std::string where = part.file->path().string();
  const GgufValue* value = part.find_value(key);
  if (value == nullptr) fail(where, ": GGUF key \"", key, "\" is missing in a part of a split model");
  std::int64_t number = 0;
  if (!convert_gguf_value(*value, number)) {
    fail(where, ": GGUF key \"", key, "\" is of type ", gguf_type_name(*value), ", expected a whole number");
  }
  return number;
}

std::int64_t part_count(const GgufPart& part) {
  return part.find_value(kCount) == nullptr ? 1 : split_key(part, kCount);
}

// "-00002-of-00003.gguf", the end of a part's name.
std::string part_ending(std::int64_t number, std::int64_t count) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "-%05lld-of-%05lld.gguf", static_cast<long long>(number + 1),
                static_cast<long long>(count));
  return text.data();
}

// What every part's name begins with.
std::string common_name(const GgufPart& part, std::int64_t number, std::int64_t count) {
  const std::string name = part.file->path().filename().string(), ending = part_ending(number, count);
  if (name.size() <= ending.size() || !name.ends_with(ending)) {
    fail(part.file->path().string(), ": is part ", number + 1, " of ", count,
         " of a split model, but its name does not end in ", ending,
         ", so the others cannot be found: give all parts the names that they were written with");
  }
  return name.substr(0, name.size() - ending.size());
}

void check_split(const GgufPart& first, const GgufPart& part, std::int64_t number, std::int64_t count) {
  const std::int64_t has_number = split_key(part, kNumber), has_count = split_key(part, kCount);
  if (has_number == number && has_count == count && split_key(part, kTensors) == split_key(first, kTensors)) {
    return;
  }
  fail(part.file->path().string(), ": says that it is part ", has_number + 1, " of ", has_count, " with ",
       split_key(part, kTensors), " tensors in all; ", first.file->path().filename().string(), " is of ",
       count, " parts with ", split_key(first, kTensors), ": the parts are of different models");
}

void check_tensors_in_all(const std::vector<GgufPart>& parts) {
  const std::int64_t expected = split_key(parts.front(), kTensors);
  std::int64_t found = 0;
  for (const GgufPart& part : parts) found += std::ssize(part.tensors);
  if (found == expected) return;
  fail(parts.front().file->path().string(), ": the ", parts.size(), " parts of this split model hold ", found,
       " tensors, expected ", expected, ": they are of different models, or one was replaced");
}

}  // namespace

std::vector<GgufPart> read_gguf_parts(const fs::path& path) {
  GgufPart named = read_gguf_part(path);
  const std::int64_t count = part_count(named);
  std::vector<GgufPart> parts;
  if (count == 1) {
    parts.push_back(std::move(named));
    return parts;
  }
  const std::int64_t own = split_key(named, kNumber);
  if (count < 1 || count > kMostParts || own < 0 || own >= count) {
    fail(path.string(), ": is part ", own, " of ", count, " of a split model, which cannot be");
  }
  const std::string common = common_name(named, own, count);
  for (std::int64_t number = 0; number < count; ++number) {
    const fs::path file = path.parent_path() / (common + part_ending(number, count));
    if (number != own && !fs::is_regular_file(file)) {
      fail(path.string(), ": is part ", own + 1, " of ", count, " of a split model; ",
           file.filename().string(), " is not in the folder: fetch all parts");
    }
    parts.push_back(number == own ? std::move(named) : read_gguf_part(file));
    check_split(parts.front(), parts.back(), number, count);
  }
  check_tensors_in_all(parts);
  return parts;
}

fs::path first_gguf_part(const fs::path& path) {
  constexpr std::size_t kEnding = 20;  // of part_ending
  const std::string name = path.filename().string();
  if (name.size() <= kEnding) return path;
  long long number = 0, count = 0;
  const std::string ending = name.substr(name.size() - kEnding);
  if (std::sscanf(ending.c_str(), "-%5lld-of-%5lld.gguf", &number, &count) != 2) return path;
  if (number < 1 || ending != part_ending(number - 1, count)) return path;
  return path.parent_path() / (name.substr(0, name.size() - kEnding) + part_ending(0, count));
}

}  // namespace lrqat::formats
