#include "lrqat/start/kept_blocks.h"

#include <ATen/ATen.h>

#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/tensor_file.h"

namespace lrqat::start {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHidden = "hidden";  // the folder of hidden states

fs::path file_of(const fs::path& folder, std::int64_t block) {
  return folder / concat("block-", block, ".safetensors");
}

}  // namespace

void KeptBlocks::prepare(std::span<const at::Tensor> batches, LayerPassOptions options,
                         const std::function<void(Block& block)>& prepare, const Workspace& space,
                         ProgressReporter& progress) const {
  const std::int64_t all = decoder_.num_layers(), done = count(space.begun);
  if (done < all) {
    const fs::path begun = space.begun / kHidden;
    if (space.hidden_on_disk || (!space.begun.empty() && fs::exists(begun))) {
      options.folder = space.folder() / kHidden;
      options.resumable = true;
    }
    LayerPass pass(decoder_, batches, options);
    if (pass.next() > done) fail(file_of(space.begun, done).string(), ": is missing; start a new run");
    for (std::int64_t block = 0; block < pass.next(); ++block) map(space.begun, block);
    const auto drop_last = [&](const Block& block) {
      if (block.index() > 0) map(space.folder(), block.index() - 1);
    };
    if (pass.next() < done) {
      progress.message(concat(done, " of ", all, " layers are prepared, in ", space.begun.string()));
      const auto bring_back = [&](Block& block) {
        drop_last(block);
        release(block);
        map(space.begun, block.index());
      };
      pass.repeat(done, bring_back, progress);
    }
    const auto visit = [&](Block& block) {
      drop_last(block);
      prepare(block);
      keep(space.folder(), block.index());
    };
    pass.run(visit, progress);
  }
  for (std::int64_t block = done < all ? all - 1 : 0; block < all; ++block) map(space.folder(), block);
}

std::int64_t KeptBlocks::count(const fs::path& folder) const {
  std::int64_t count = 0;
  while (!folder.empty() && count < decoder_.num_layers() && fs::exists(file_of(folder, count))) ++count;
  return count;
}

void KeptBlocks::keep(const fs::path& folder, std::int64_t block) const {
  model::TensorList tensors;
  for (const nn::Linear* linear : decoder_.layer(block).linears()) {
    if (!plan_.of(linear->name())) continue;  // it is the model's own
    const auto add = [&](const std::string& name, const at::Tensor& tensor) {
      tensors.emplace_back(concat(linear->name(), ".", name), tensor);
    };
    for (const auto& [name, tensor] : linear->weight()->buffers()) add(name, tensor);
    for (const quant::Parameter& parameter : linear->weight()->parameters())
      add(parameter.name, parameter.value);
  }
  const std::string prefix = concat("model.layers.", block, ".");
  for (const auto& [name, tensor] : decoder_.replaced()) {
    if (name.starts_with(prefix)) tensors.emplace_back(name, tensor);
  }
  model::save_tensors(file_of(folder, block), tensors);
}

void KeptBlocks::map(const fs::path& folder, std::int64_t block) const {
  auto tensors = model::map_tensors(file_of(folder, block));
  for (nn::Linear* linear : decoder_.layer(block).linears()) {
    const auto own = plan_.of(linear->name());
    if (!own) continue;
    const methods::SavedLayer saved{linear->name(), linear->in_features(),
                                    take_layer(tensors, linear->name(), decoder_.device())};
    linear->set_weight(plan_.method.restore(saved, own->options));
  }
  for (const auto& [name, tensor] : tensors) {
    if (!decoder_.replace(name,
                          tensor.to(decoder_.device(), at::kFloat, /*non_blocking=*/false, /*copy=*/true)))
      fail(file_of(folder, block).string(), ": tensor ", quote(name), " belongs to nothing in this model");
  }
}

void KeptBlocks::release(const Block& block) const {
  for (const nn::Linear* linear : block.layer().linears()) source_.release(linear->name() + ".weight");
}

methods::NamedTensors take_layer(std::map<std::string, at::Tensor>& all, const std::string& layer,
                                 at::Device device) {
  methods::NamedTensors out;
  const std::string prefix = layer + ".";
  for (auto it = all.lower_bound(prefix); it != all.end() && it->first.starts_with(prefix);) {
    out.emplace(it->first.substr(prefix.size()), it->second.to(device));
    it = all.erase(it);
  }
  return out;
}

}  // namespace lrqat::start
