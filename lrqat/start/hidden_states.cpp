#include "lrqat/start/hidden_states.h"

#include <ATen/ATen.h>

#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/model/tensor_file.h"

namespace lrqat::start {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTensor = "hidden";

fs::path file_of(const fs::path& folder, std::size_t batch) { return folder / concat(batch, ".safetensors"); }

}  // namespace

HiddenStates::HiddenStates(std::vector<std::int64_t> sequences, fs::path folder, std::string name,
                           at::Device device)
    : sequences_(std::move(sequences)), folder_(std::move(folder)), name_(std::move(name)), device_(device) {
  if (folder_.empty()) memory_.resize(size());
}

fs::path HiddenStates::folder_of(std::int64_t version) const { return folder_ / concat(name_, "-", version); }

at::Tensor HiddenStates::get(std::size_t batch) const {
  if (folder_.empty()) return memory_.at(batch);
  const fs::path path = file_of(folder_of(version_), batch);
  auto tensors = model::map_tensors(path);
  const auto found = tensors.find(kTensor);
  if (found == tensors.end()) fail(path.string(), ": holds no tensor \"", kTensor, "\"");
  return found->second.to(device_);
}

void HiddenStates::write(std::int64_t version, std::size_t batch, const at::Tensor& hidden) {
  if (folder_.empty()) {
    memory_.at(batch) = hidden;
  } else {
    model::save_tensors(file_of(folder_of(version), batch), {{kTensor, hidden}});
  }
}

void HiddenStates::fill(const std::function<at::Tensor(std::size_t batch)>& make) {
  for (std::size_t i = 0; i < size(); ++i) write(version_, i, make(i));
  keep();
}

void HiddenStates::update(const std::function<at::Tensor(const at::Tensor& hidden)>& step) {
  for (std::size_t i = 0; i < size(); ++i) write(version_ + 1, i, step(get(i)));
  ++version_;
  if (version_ - 1 != kept_) remove_other_versions();
}

void HiddenStates::keep() {
  kept_ = version_;
  remove_other_versions();
}

void HiddenStates::open_kept(std::int64_t version) {
  version_ = kept_ = version;
  remove_other_versions();
}

// All but the present and the kept one.
void HiddenStates::remove_other_versions() const {
  if (folder_.empty()) return;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(name_ + "-") && entry.path() != folder_of(version_) &&
        entry.path() != folder_of(kept_))
      fs::remove_all(entry.path());
  }
}

}  // namespace lrqat::start
