// What the blocks of a model have become while the blocks after them are prepared, one file a block: a killed
// program goes on from there, and memory holds only the block at work.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "lrqat/methods/method.h"
#include "lrqat/model/decoder.h"
#include "lrqat/start/prepare.h"

namespace lrqat::start {

class KeptBlocks {
 public:
  // The arguments must outlive this object.
  KeptBlocks(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source)
      : plan_(plan), decoder_(decoder), source_(source) {}

  // Prepares all blocks, or those that an earlier program left, in a walk with these options. The hidden
  // states that the others give are computed again, unless they lie on disk. At the end all blocks are pages
  // of files.
  void prepare(std::span<const at::Tensor> batches, LayerPassOptions options,
               const std::function<void(Block& block)>& prepare, const Workspace& space,
               ProgressReporter& progress) const;

 private:
  std::int64_t count(const std::filesystem::path& folder) const;
  // Writes the weights of the block's linears and the norms that a transform changed.
  void keep(const std::filesystem::path& folder, std::int64_t block) const;
  // Gives them to the decoder, as pages of the file, which come when they are read.
  void map(const std::filesystem::path& folder, std::int64_t block) const;
  void release(const Block& block) const;  // what was read of the float model's file

  const Plan& plan_;
  model::Decoder& decoder_;
  const formats::WeightSource& source_;
};

// The tensors "<layer>.<name>" of one layer by <name>, moved out of `all`.
methods::NamedTensors take_layer(std::map<std::string, at::Tensor>& all, const std::string& layer,
                                 at::Device device);

}  // namespace lrqat::start
