// safetensors: u64 little-endian header length, a JSON header, then the tensors' bytes. Offsets must cover
// the data exactly, without gaps and overlaps. Data may lie at any address: readers copy, or check alignment
// themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/dtype.h"

namespace lrqat::formats {

using Metadata = std::map<std::string, std::string>;

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;  // the limit of the reference reader

// A tensor inside a mapped file; valid as long as the file object (or its map) lives.
struct TensorView {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;

  std::int64_t elements() const;
};

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);  // maps and validates the whole header

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in the order of their data
  const TensorView* find(std::string_view name) const;                 // nullptr: not in this file
  const TensorView& at(std::string_view name) const;                   // Error that lists near names
  const Metadata& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return file_->path(); }
  const std::shared_ptr<MappedFile>& file() const { return file_; }  // keep it to keep views valid
  void release(const TensorView& tensor) const { file_->release(tensor.data); }

 private:
  std::shared_ptr<MappedFile> file_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, std::size_t> index_;
  Metadata metadata_;
};

struct TensorDeclaration {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::int64_t> shape;
};

std::uint64_t declared_bytes(const TensorDeclaration& tensor);

// Streams tensors into a file that appears whole at finish() or not at all. The header needs every tensor
// declared at the start; the data then comes in declared order, each tensor in one or more pieces.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorDeclaration> tensors,
                    const Metadata& metadata = {});

  void write(std::string_view name, std::span<const std::byte> data);
  template <typename T>
  void write_values(std::string_view name, std::span<const T> values) {
    write(name, std::as_bytes(values));
  }
  void finish();  // checks that every declared byte came, then renames into place

 private:
  void skip_complete();

  std::filesystem::path path_;
  std::vector<TensorDeclaration> tensors_;
  AtomicFile file_;
  std::size_t current_ = 0;    // the tensor whose bytes come next
  std::uint64_t written_ = 0;  // of that tensor
};

// The tensors of a folder: model.safetensors, or the shards that model.safetensors.index.json names, or the
// one safetensors file of another name. A path to one .safetensors file is taken as well.
class ShardedSafetensors {
 public:
  explicit ShardedSafetensors(const std::filesystem::path& folder);

  std::vector<std::string> names() const;  // shard after shard, in file order
  const TensorView* find(std::string_view name) const;
  const TensorView& at(std::string_view name) const;
  const SafetensorsFile& file_of(std::string_view name) const;
  const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const { return files_; }
  const Metadata& metadata() const;  // of the first shard
  const std::filesystem::path& path() const { return path_; }
  void release(std::string_view name) const;

 private:
  void open_folder(const std::filesystem::path& folder);
  void open_single(const std::filesystem::path& file);
  void open_index(const Json& index, const std::string& where);

  std::filesystem::path path_;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::unordered_map<std::string, std::size_t> file_of_;
};

// Writes a folder's weights as model.safetensors, or as model-0000i-of-0000n.safetensors and an index when
// they are more than max_shard_bytes. Same use as SafetensorsWriter. The shards are renamed into place one by
// one and the index last; use an AtomicDirectory around it where the folder must appear whole.
class ShardedSafetensorsWriter {
 public:
  ShardedSafetensorsWriter(const std::filesystem::path& folder, std::vector<TensorDeclaration> tensors,
                           const Metadata& metadata = {}, std::uint64_t max_shard_bytes = 5'000'000'000ULL);

  void write(std::string_view name, std::span<const std::byte> data);
  void finish();
  const std::vector<std::string>& file_names() const { return file_names_; }

 private:
  void open_shard(std::size_t shard);

  std::filesystem::path folder_;
  Metadata metadata_;
  std::vector<std::vector<TensorDeclaration>> shards_;
  std::vector<std::string> file_names_;
  std::unordered_map<std::string, std::size_t> shard_of_;
  std::uint64_t total_bytes_ = 0;
  std::size_t current_ = 0;
  std::unique_ptr<SafetensorsWriter> writer_;
};

}  // namespace lrqat::formats
