#include <algorithm>
#include <iomanip>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/messages.h"
#include "lrqat/formats/safetensors.h"

namespace lrqat::formats {
namespace fs = std::filesystem;

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// An index may name files of its own folder only.
void check_plain_name(const std::string& name, const std::string& where) {
  const bool plain = name.find_first_of("/\\") == std::string::npos && name.find('\0') == std::string::npos &&
                     name.size() > 12 && name.ends_with(".safetensors");
  if (!plain)
    fail(where, ": names file ", quoted_name(name),
         ", expected a plain *.safetensors name in the same folder");
}

std::string shard_name(std::size_t shard, std::size_t count) {
  std::ostringstream name;
  name << "model-" << std::setfill('0') << std::setw(5) << shard + 1 << "-of-" << std::setw(5) << count
       << ".safetensors";
  return name.str();
}

std::vector<std::vector<TensorDeclaration>> split_shards(std::vector<TensorDeclaration> tensors,
                                                         std::uint64_t max_shard_bytes) {
  std::vector<std::vector<TensorDeclaration>> shards(1);
  std::uint64_t bytes = 0;
  for (TensorDeclaration& tensor : tensors) {
    const std::uint64_t size = declared_bytes(tensor);
    if (!shards.back().empty() && size > 0 && bytes + size > max_shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += size;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

// The folder's one file of another name, as AutoGPTQ and consolidated checkpoints have it; empty: none.
fs::path other_single_file(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && name.ends_with(".safetensors") && !name.starts_with("adapter_"))
      files.push_back(entry.path());
  }
  if (files.size() == 1) return files.front();
  if (files.size() > 1) {
    fail(folder.string(), ": holds ", files.size(), " safetensors files, but no ", kIndexFile,
         " that says which tensor is in which: fetch it too");
  }
  return {};
}

// A folder that was saved twice, once in one file and once in shards: nothing says which is the newer model.
void refuse_both(const fs::path& folder, const Json& index) {
  std::string first;
  for (const Json& file : index["weight_map"]) {
    if (!file.is_string() || file == kSingleFile) return;
    if (first.empty()) first = file.get<std::string>();
  }
  fail(folder.string(), ": holds ", kSingleFile, " and ", kIndexFile, " (of ", quoted_name(first),
       ", …), two models: remove the one that is left from an earlier save");
}

Json read_index(const fs::path& path) {
  Json index = read_json_file(path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    fail(path.string(), ": expected an object with \"weight_map\": {tensor: file}");
  }
  return index;
}

}  // namespace

ShardedSafetensors::ShardedSafetensors(const fs::path& folder) : path_(folder) {
  fs::is_directory(folder) ? open_folder(folder) : open_single(folder);
}

void ShardedSafetensors::open_folder(const fs::path& folder) {
  const bool has_single = fs::is_regular_file(folder / kSingleFile);
  if (fs::is_regular_file(folder / kIndexFile)) {
    const Json index = read_index(folder / kIndexFile);
    if (has_single) refuse_both(folder, index);
    return open_index(index, (folder / kIndexFile).string());
  }
  if (has_single) return open_single(folder / kSingleFile);
  const fs::path other = other_single_file(folder);
  if (!other.empty()) return open_single(other);
  refuse_other_checkpoints(folder);
  fail(folder.string(), ": expected ", kSingleFile, " or ", kIndexFile, " in this folder, found neither");
}

void ShardedSafetensors::open_single(const fs::path& file) {
  files_.push_back(std::make_shared<SafetensorsFile>(file));
  for (const TensorView& tensor : files_[0]->tensors()) file_of_.emplace(tensor.name, 0);
}

void ShardedSafetensors::open_index(const Json& index, const std::string& where) {
  std::map<std::string, std::size_t> shard_number;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string())
      fail(where, ": tensor ", quoted_name(name), " must name a file, found ", json_excerpt(file));
    check_plain_name(file.get<std::string>(), where);
    shard_number.emplace(file.get<std::string>(), 0);
  }
  for (auto& [file, number] : shard_number) {
    number = files_.size();
    if (!fs::is_regular_file(path_ / file)) {
      fail(where, ": names shard ", quoted_name(file), ", which is not in the folder: fetch all shards");
    }
    files_.push_back(std::make_shared<SafetensorsFile>(path_ / file));
  }
  for (const auto& [name, file] : index["weight_map"].items()) {
    const std::size_t number = shard_number.at(file.get<std::string>());
    if (files_[number]->find(name) == nullptr) {
      fail(where, ": tensor ", quoted_name(name), " should be in ", quoted_name(file.get<std::string>()),
           ", but is not there");
    }
    file_of_.emplace(name, number);
  }
}

std::vector<std::string> ShardedSafetensors::names() const {
  std::vector<std::string> names;
  for (std::size_t number = 0; number < files_.size(); ++number) {
    for (const TensorView& tensor : files_[number]->tensors()) {
      const auto it = file_of_.find(tensor.name);
      if (it != file_of_.end() && it->second == number) names.push_back(tensor.name);
    }
  }
  return names;
}

const TensorView* ShardedSafetensors::find(std::string_view name) const {
  const auto it = file_of_.find(std::string(name));
  return it == file_of_.end() ? nullptr : files_[it->second]->find(name);
}

const TensorView& ShardedSafetensors::at(std::string_view name) const {
  if (const TensorView* tensor = find(name)) return *tensor;
  fail(path_.string(), ": no tensor ", quoted_name(name), near_names_hint(name, names()));
}

const SafetensorsFile& ShardedSafetensors::file_of(std::string_view name) const {
  at(name);
  return *files_[file_of_.at(std::string(name))];
}

const Metadata& ShardedSafetensors::metadata() const {
  static const Metadata kEmpty;
  return files_.empty() ? kEmpty : files_[0]->metadata();
}

void ShardedSafetensors::release(std::string_view name) const { file_of(name).release(at(name)); }

ShardedSafetensorsWriter::ShardedSafetensorsWriter(const fs::path& folder,
                                                   std::vector<TensorDeclaration> tensors,
                                                   const Metadata& metadata, std::uint64_t max_shard_bytes)
    : folder_(folder), metadata_(metadata) {
  for (const TensorDeclaration& tensor : tensors) total_bytes_ += declared_bytes(tensor);
  shards_ = split_shards(std::move(tensors), max_shard_bytes);
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    file_names_.push_back(shards_.size() == 1 ? kSingleFile : shard_name(shard, shards_.size()));
    for (const TensorDeclaration& tensor : shards_[shard]) shard_of_.emplace(tensor.name, shard);
  }
  open_shard(0);
}

void ShardedSafetensorsWriter::open_shard(std::size_t shard) {
  current_ = shard;
  writer_ = std::make_unique<SafetensorsWriter>(folder_ / file_names_[shard], shards_[shard], metadata_);
}

void ShardedSafetensorsWriter::write(std::string_view name, std::span<const std::byte> data) {
  if (data.empty()) return;
  const auto it = shard_of_.find(std::string(name));
  LRQAT_CHECK(it != shard_of_.end(), "tensor was not declared: ", name);
  while (it->second > current_) {
    writer_->finish();
    open_shard(current_ + 1);
  }
  LRQAT_CHECK(it->second == current_, "data of ", name, " comes after its shard was closed");
  writer_->write(name, data);
}

void ShardedSafetensorsWriter::finish() {
  writer_->finish();
  while (current_ + 1 < shards_.size()) {  // shards of empty tensors only
    open_shard(current_ + 1);
    writer_->finish();
  }
  if (shards_.size() == 1) return;
  Json index;
  index["metadata"]["total_size"] = total_bytes_;
  for (const auto& [name, shard] : shard_of_) index["weight_map"][name] = file_names_[shard];
  write_text_file(folder_ / kIndexFile, json_text(index, 2) + "\n");
}

}  // namespace lrqat::formats
