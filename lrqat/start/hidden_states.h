// The hidden states of calibration batches between two steps through a model, float32 [B, L, H] each: in
// memory, or on disk for texts that do not fit there, one file a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lrqat::start {

class HiddenStates {
 public:
  // sequences: B of every batch. folder: of the files, which has to be there; empty: in memory. name: of
  // these states among others in the folder. device: of what get() gives.
  HiddenStates(std::vector<std::int64_t> sequences, std::filesystem::path folder, std::string name,
               at::Device device);

  std::size_t size() const { return sequences_.size(); }
  std::int64_t sequences(std::size_t batch) const {
    return sequences_.at(batch);
  }  // without reading the file
  // On disk: pages of the file, which come when they are read.
  at::Tensor get(std::size_t batch) const;

  // The states that the pass begins with.
  void fill(const std::function<at::Tensor(std::size_t batch)>& make);
  // Every batch becomes what `step` makes of it. On disk that is another version of all files; the version of
  // the last keep() stays beside it, so that a killed pass can go on from there.
  void update(const std::function<at::Tensor(const at::Tensor& hidden)>& step);

  std::int64_t version() const { return version_; }
  void keep();                           // the present version instead of the one that was kept
  void open_kept(std::int64_t version);  // goes on from what an earlier program kept

 private:
  std::filesystem::path folder_of(std::int64_t version) const;
  void write(std::int64_t version, std::size_t batch, const at::Tensor& hidden);
  void remove_other_versions() const;

  std::vector<std::int64_t> sequences_;
  std::filesystem::path folder_;
  std::string name_;
  at::Device device_;
  std::vector<at::Tensor> memory_;
  std::int64_t version_ = 0, kept_ = 0;
};

}  // namespace lrqat::start
