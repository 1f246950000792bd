// A teacher's logits of training sequences, kept in a folder: text that is seen several times asks the
// teacher once, and the teacher is not in memory while a student learns from it. What stands in the folder:
//   cache.json                what its content depends on (CacheSettings)
//   part-000001.safetensors   some sequences: tokens, logits, checksums; parts are only ever added, each
//   whole lock                      locked by the program that adds some
// A sequence is found by its tokens, so neither order, epochs and batch size nor what else the folder holds
// matter. L tokens a sequence, of which L-1 predict the next one; k of V tokens are kept of each prediction.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lrqat/base/file_lock.h"
#include "lrqat/base/json.h"
#include "lrqat/nn/teacher_logits.h"

namespace lrqat::train {

struct CacheSettings {
  std::string teacher;  // fingerprint of its weights and configuration
  std::string compute;  // the type of its products
  std::int64_t sequence_length = 0, vocabulary = 0, top_k = 0;  // 0 < top_k <= vocabulary
  double temperature = 1.0;                                     // does not matter where all logits are kept

  bool keeps_all() const { return top_k == vocabulary; }
  std::int64_t predictions() const { return sequence_length - 1; }  // of a sequence
  std::int64_t bytes_per_sequence() const;                          // on disk
};

// A sequence's tokens as its key: bytes of int32 [L]. tokens: int64 [L] on the CPU.
std::string sequence_key(const at::Tensor& tokens);

class TeacherCache {
 public:
  // A folder that is missing or empty is a cache without sequences. Error where it holds something else, a
  // damaged part, or what was made with other settings, naming the first that differs.
  TeacherCache(std::filesystem::path folder, CacheSettings settings);
  ~TeacherCache();
  TeacherCache(const TeacherCache&) = delete;
  TeacherCache& operator=(const TeacherCache&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  const CacheSettings& settings() const { return settings_; }
  std::int64_t size() const { return static_cast<std::int64_t>(sequences_.size()); }  // sequences
  bool has(std::string_view key) const { return sequences_.contains(key); }

  // Error where the sequence, which is there, is not what was added: its checksum is another. Looks once.
  void check(std::string_view key) const { check(sequences_.at(key)); }
  // Of the predictions of tokens int64 [B, L], B·(L-1) in their order. Error where a sequence is not there,
  // or fails check().
  nn::KnownLogits logits(const at::Tensor& tokens) const;

  // Takes up parts that were added since.
  void refresh();

 private:
  friend class TeacherCacheWriter;
  struct Part;
  struct Place {
    const Part* part;
    std::int64_t row;
  };

  void check_settings() const;
  void take_part(const std::filesystem::path& path);
  void check(const Place& place) const;

  std::filesystem::path folder_;
  CacheSettings settings_;
  std::vector<std::unique_ptr<Part>> parts_;
  std::unordered_map<std::string_view, Place> sequences_;  // keys are bytes of the parts
};

// Adds sequences. Nothing is ever half-written: what is not saved yet when a program ends is lost.
class TeacherCacheWriter {
 public:
  // Makes the folder where it is missing. Error where another program adds to it. `cache` must stay, and
  // knows at save() what was added.
  explicit TeacherCacheWriter(TeacherCache& cache);

  // One sequence: int64 [L], and the logits of its L-1 predictions; all on the CPU. Saves a part now and
  // then: after 64 MiB, or after a minute.
  void add(const at::Tensor& tokens, const nn::TeacherLogits& logits);
  void save();  // what was added since the last part

 private:
  struct Entry {
    std::string tokens;
    at::Tensor ids, values, rest;  // ids int32
  };

  TeacherCache& cache_;
  std::unique_ptr<FileLock> lock_;
  std::vector<Entry> entries_;
  double saved_at_;
};

}  // namespace lrqat::train
