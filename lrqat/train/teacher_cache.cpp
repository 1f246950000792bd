#include "lrqat/train/teacher_cache.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iomanip>
#include <set>
#include <span>
#include <sstream>

#include "lrqat/base/clock.h"
#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/train/fingerprint.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;
using formats::DType;
using Bytes = std::span<const std::byte>;

constexpr int kVersion = 1;
constexpr std::int64_t kChecksumBytes = 64;  // digits of a fingerprint

// What a difference is called in messages.
struct Setting {
  const char *key, *name;
};
constexpr std::array<Setting, 7> kSettings{{{"version", "another version of lrqat"},
                                            {"teacher", "another teacher"},
                                            {"vocabulary", "a vocabulary of"},
                                            {"compute", "`compute-dtype`"},
                                            {"sequence_length", "`sequence-length`"},
                                            {"top_k", "`teacher-top-k`"},
                                            {"temperature", "`distill-temperature`"}}};

Json to_json(const CacheSettings& settings) {
  return {{"version", kVersion},
          {"teacher", settings.teacher},
          {"compute", settings.compute},
          {"sequence_length", settings.sequence_length},
          {"vocabulary", settings.vocabulary},
          {"top_k", settings.top_k},
          {"temperature", settings.keeps_all() ? 1.0 : settings.temperature}};
}

// The tensors of a part of n sequences, in their order.
std::vector<formats::TensorDeclaration> declarations(const CacheSettings& settings, std::int64_t n) {
  const std::int64_t rows = settings.predictions();
  std::vector<formats::TensorDeclaration> all{{"tokens", DType::I32, {n, settings.sequence_length}}};
  if (settings.keeps_all()) {
    all.push_back({"logits", DType::F32, {n, rows, settings.vocabulary}});
  } else {
    all.push_back({"ids", DType::I32, {n, rows, settings.top_k}});
    all.push_back({"log_probabilities", DType::F32, {n, rows, settings.top_k}});
    all.push_back({"rest", DType::F32, {n, rows}});
  }
  all.push_back({"checksums", DType::U8, {n, kChecksumBytes}});
  return all;
}

bool is_part(const std::string& name) { return name.starts_with("part-") && name.ends_with(".safetensors"); }

std::vector<fs::path> part_paths(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) {
    if (is_part(entry.path().filename().string())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Nothing that another program would miss: what a killed program left before there was a cache.json.
bool holds_nothing(const fs::path& folder) {
  const auto entries = fs::directory_iterator(folder);
  return std::all_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    return name == "lock" || name.starts_with("cache.json.");
  });
}

Bytes bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

// Of one sequence: its tensors, and what the cache is.
std::string checksum(const CacheSettings& settings, const std::vector<Bytes>& parts) {
  const std::string is = to_json(settings).dump();
  std::vector<Bytes> all{std::as_bytes(std::span(is))};
  all.insert(all.end(), parts.begin(), parts.end());
  return bytes_fingerprint(all);
}

}  // namespace

std::int64_t CacheSettings::bytes_per_sequence() const {
  std::uint64_t bytes = 0;
  for (const auto& tensor : declarations(*this, 1)) bytes += formats::declared_bytes(tensor);
  return static_cast<std::int64_t>(bytes);
}

std::string sequence_key(const at::Tensor& tokens) {
  const at::Tensor narrow = tokens.to(at::kInt).contiguous();
  return {static_cast<const char*>(narrow.const_data_ptr()), narrow.nbytes()};
}

// A part's file. Bytes of sequence `row` of its tensors; a tensor that is not there gives none.
struct TeacherCache::Part {
  Part(const fs::path& path, const CacheSettings& settings) : file(path) {
    const formats::TensorView* first = file.find("tokens");
    if (first == nullptr || first->shape.empty()) fail(path.string(), ": is no part of a teacher cache");
    size = first->shape[0];
    for (const auto& wanted : declarations(settings, size)) {
      const formats::TensorView& found = file.at(wanted.name);
      if (found.dtype != wanted.dtype || found.shape != wanted.shape)
        fail(path.string(), ": tensor ", wanted.name, " is ", formats::shape_to_string(found.shape), ", not ",
             formats::shape_to_string(wanted.shape));
    }
    tokens = first;
    ids = file.find("ids");
    values = file.find(settings.keeps_all() ? "logits" : "log_probabilities");
    rest = file.find("rest");
    checksums = file.find("checksums");
    checked.resize(static_cast<std::size_t>(size));
  }

  Bytes of(const formats::TensorView* tensor, std::int64_t row) const {
    if (tensor == nullptr) return {};
    const std::size_t bytes = tensor->data.size() / static_cast<std::size_t>(size);
    return tensor->data.subspan(static_cast<std::size_t>(row) * bytes, bytes);
  }

  formats::SafetensorsFile file;
  std::int64_t size = 0;  // sequences
  const formats::TensorView *tokens, *ids, *values, *rest, *checksums;
  mutable std::vector<bool> checked;
};

TeacherCache::TeacherCache(fs::path folder, CacheSettings settings)
    : folder_(std::move(folder)), settings_(std::move(settings)) {
  LRQAT_CHECK(settings_.sequence_length > 1 && settings_.top_k > 0 &&
              settings_.top_k <= settings_.vocabulary);
  std::error_code ignored;
  if (!fs::exists(folder_, ignored)) return;
  if (!fs::is_directory(folder_)) fail("`teacher-cache` ", folder_.string(), " is no folder");
  if (!fs::exists(folder_ / "cache.json")) {
    if (holds_nothing(folder_)) return;
    fail("`teacher-cache` ", folder_.string(),
         " is no teacher cache (it has no cache.json) and not empty: give another folder");
  }
  check_settings();
  refresh();
}

TeacherCache::~TeacherCache() = default;

void TeacherCache::check_settings() const {
  const Json found = read_json_file(folder_ / "cache.json"), wanted = to_json(settings_);
  for (const Setting& setting : kSettings) {
    const Json value = found.is_object() ? found.value(setting.key, Json()) : Json();
    if (value == wanted[setting.key]) continue;
    const bool told =
        setting.key == std::string_view("teacher") || setting.key == std::string_view("version");
    fail("`teacher-cache` ", folder_.string(), " was made with ", setting.name,
         told ? std::string() : concat(" ", json_excerpt(value), ", this run has ", wanted[setting.key]),
         ": give another folder, or remove this one");
  }
}

void TeacherCache::refresh() {
  std::set<fs::path> known;
  for (const auto& part : parts_) known.insert(part->file.path());
  for (const fs::path& path : part_paths(folder_)) {
    if (!known.contains(path)) take_part(path);
  }
}

void TeacherCache::take_part(const fs::path& path) {
  try {
    parts_.push_back(std::make_unique<Part>(path, settings_));
  } catch (const Error& error) {
    fail(error.what(), "; `teacher-cache`: remove the file ", path.string(), ", what it held is made again");
  }
  const Part& part = *parts_.back();
  for (std::int64_t row = 0; row < part.size; ++row) {
    const Bytes tokens = part.of(part.tokens, row);
    sequences_.insert({{reinterpret_cast<const char*>(tokens.data()), tokens.size()}, {&part, row}});
  }
}

void TeacherCache::check(const Place& place) const {
  const auto& [part, row] = place;
  if (part->checked[static_cast<std::size_t>(row)]) return;
  std::vector<Bytes> tensors;
  for (const auto* tensor : {part->tokens, part->ids, part->values, part->rest})
    tensors.push_back(part->of(tensor, row));
  const std::string found = checksum(settings_, tensors);
  for (const Bytes bytes : tensors) part->file.file()->release(bytes);
  const Bytes wanted = part->of(part->checksums, row);
  if (std::memcmp(found.data(), wanted.data(), wanted.size()) != 0) {
    fail(part->file.path().string(), ": the checksum of sequence ", row,
         " is another: the file is damaged or of another cache; remove it, what it held is made again");
  }
  part->checked[static_cast<std::size_t>(row)] = true;
}

nn::KnownLogits TeacherCache::logits(const at::Tensor& tokens) const {
  std::vector<Place> places;
  for (std::int64_t i = 0; i < tokens.size(0); ++i) {
    const auto found = sequences_.find(sequence_key(tokens[i]));
    if (found == sequences_.end())
      fail("`teacher-cache` ", folder_.string(), " does not hold a sequence that is trained on");
    check(found->second);
    places.push_back(found->second);
  }
  return [this, places](std::int64_t begin, std::int64_t end) {
    // [n, width] of predictions [begin, end); what was read need not stay in memory.
    const auto read = [&](const formats::TensorView* Part::*tensor, at::ScalarType type, std::int64_t width) {
      at::Tensor out = at::empty({end - begin, width}, type);
      auto* to = static_cast<std::byte*>(out.mutable_data_ptr());
      const std::int64_t of_sequence = settings_.predictions();
      const std::size_t row_bytes = static_cast<std::size_t>(width) * out.element_size();
      for (std::int64_t row = begin; row < end;) {
        const Place& place = places.at(static_cast<std::size_t>(row / of_sequence));
        const std::int64_t first = row % of_sequence, count = std::min(of_sequence - first, end - row);
        const Bytes from = place.part->of(place.part->*tensor, place.row)
                               .subspan(static_cast<std::size_t>(first) * row_bytes,
                                        static_cast<std::size_t>(count) * row_bytes);
        to = std::copy(from.begin(), from.end(), to);
        place.part->file.file()->release(from);
        row += count;
      }
      return out;
    };
    const at::Tensor values = read(&Part::values, at::kFloat, settings_.top_k);
    if (settings_.keeps_all()) return nn::TeacherLogits{{}, values, {}};
    return nn::TeacherLogits{read(&Part::ids, at::kInt, settings_.top_k).to(at::kLong), values,
                             read(&Part::rest, at::kFloat, 1).squeeze(1)};
  };
}

TeacherCacheWriter::TeacherCacheWriter(TeacherCache& cache) : cache_(cache), saved_at_(seconds_now()) {
  const fs::path& folder = cache_.folder();
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("`teacher-cache` ", folder.string(), " cannot be made: ", error.message());
  lock_ = FileLock::try_lock(folder / "lock");
  if (lock_ == nullptr)
    fail("`teacher-cache` ", folder.string(), ": another program is adding to it; wait until it has done so");
  if (!fs::exists(folder / "cache.json"))
    write_text_file(folder / "cache.json", to_json(cache_.settings()).dump(2) + "\n");
  cache_.check_settings();
  cache_.refresh();
}

void TeacherCacheWriter::add(const at::Tensor& tokens, const nn::TeacherLogits& logits) {
  constexpr std::int64_t kPartBytes = std::int64_t{64} << 20;
  constexpr double kPartSeconds = 60.0;
  const auto own = [](const at::Tensor& x) { return x.defined() ? x.contiguous() : x; };
  entries_.push_back({sequence_key(tokens),
                      logits.ids.defined() ? own(logits.ids.to(at::kInt)) : at::Tensor(), own(logits.values),
                      own(logits.rest)});
  const auto bytes = static_cast<std::int64_t>(entries_.size()) * cache_.settings().bytes_per_sequence();
  if (bytes >= kPartBytes || seconds_now() - saved_at_ >= kPartSeconds) save();
}

void TeacherCacheWriter::save() {
  saved_at_ = seconds_now();
  if (entries_.empty()) return;
  const CacheSettings& settings = cache_.settings();
  const auto parts = part_paths(cache_.folder());
  const int last = parts.empty() ? 0 : std::atoi(parts.back().filename().string().c_str() + 5);
  std::ostringstream name;
  name << "part-" << std::setw(6) << std::setfill('0') << last + 1 << ".safetensors";
  const auto all = declarations(settings, static_cast<std::int64_t>(entries_.size()));
  formats::SafetensorsWriter file(cache_.folder() / name.str(), all);
  const auto write = [&](const char* tensor, at::Tensor Entry::*member) {
    for (const Entry& entry : entries_) file.write(tensor, bytes_of(entry.*member));
  };
  for (const Entry& entry : entries_) file.write("tokens", std::as_bytes(std::span(entry.tokens)));
  if (settings.keeps_all()) {
    write("logits", &Entry::values);
  } else {
    write("ids", &Entry::ids);
    write("log_probabilities", &Entry::values);
    write("rest", &Entry::rest);
  }
  for (const Entry& entry : entries_) {
    std::vector<Bytes> tensors{std::as_bytes(std::span(entry.tokens))};
    for (const at::Tensor& tensor : {entry.ids, entry.values, entry.rest})
      tensors.push_back(tensor.defined() ? bytes_of(tensor) : Bytes());
    file.write_values("checksums", std::span<const char>(checksum(settings, tensors)));
  }
  file.finish();
  entries_.clear();
  cache_.refresh();
}

}  // namespace lrqat::train
