// A walk through a decoder, block by block (a block is one decoder layer), over batches of calibration text.
// Whatever prepares a block sees its inputs as the blocks prepared before it produce them, and, where asked
// for, the outputs that the float model has there. GPTQ, AWQ and block-wise optimisation stand on it. The
// hidden states between two blocks lie in memory or on disk; a pass that was killed can go on at its block.
// B sequences, L tokens each, H hidden size, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "lrqat/base/file_lock.h"
#include "lrqat/base/progress.h"
#include "lrqat/base/temporary.h"
#include "lrqat/model/decoder.h"
#include "lrqat/start/hidden_states.h"

namespace lrqat::start {

struct LayerPassOptions {
  // Also runs the float model: Block::target(). One more forward pass, and as much memory again for hidden
  // states.
  bool targets = false;
  // Of a block, as progress counts them: what Block::report() is told.
  std::int64_t steps = 1;
  // Hidden states lie in files: in a temporary folder beside this name, or, `resumable`, in this folder
  // itself, from which a killed pass goes on. Removed when the pass has finished. Empty: memory.
  std::filesystem::path folder = {};
  bool resumable = false;
  // What a pass that goes on must have in common with the one that was killed, besides text and shape of the
  // model: as the recipe and a fingerprint of the model.
  std::string key = {};
};

using SeeInput = std::function<void(const at::Tensor& x)>;  // float32 [T, K] of one batch
using ForEachInput = std::function<void(const SeeInput& see)>;

// The block that a pass stands at. Valid while it is visited.
class Block {
 public:
  using Report = std::function<void(std::int64_t step)>;
  Block(model::Decoder& decoder, std::int64_t index, HiddenStates& student, const HiddenStates* target,
        Report report = {})
      : decoder_(decoder), index_(index), student_(student), target_(target), report_(std::move(report)) {}

  std::int64_t index() const { return index_; }
  model::DecoderLayer& layer() const { return decoder_.layer(index_); }
  at::Device device() const { return decoder_.device(); }
  std::size_t batches() const { return student_.size(); }
  std::int64_t sequences(std::size_t batch) const { return student_.sequences(batch); }  // B
  // What goes into the block behind the prepared ones, [B, L, H]. Not after prepare_in_order().
  at::Tensor input(std::size_t batch) const;
  // What the float model has behind this block, [B, L, H]. With LayerPassOptions::targets.
  at::Tensor target(std::size_t batch) const;
  // The block as it is now. Without gradients, unless the caller turns them on.
  at::Tensor forward(const at::Tensor& hidden) const { return decoder_.layer_forward(index_, hidden); }

  // Runs the block as it is now on all batches; see: the input of the group with that index in
  // layer().linear_groups().
  void observe(const std::function<void(std::size_t group, const at::Tensor& x)>& see) const;

  // One group after the other: `prepare` may ask for the group's inputs, which are those that the groups
  // prepared before it in this block produce.
  using PrepareGroup = std::function<void(const model::LinearGroup& group, const ForEachInput& inputs)>;
  void prepare_in_order(const PrepareGroup& prepare);

  bool has_moved() const { return moved_; }

  // Progress: so many of LayerPassOptions::steps are done.
  void report(std::int64_t step) const {
    if (report_) report_(step);
  }

 private:
  at::Tensor run(model::LayerHalf half, const at::Tensor& hidden) const;
  void for_each_input(const model::LinearGroup& group, const SeeInput& see) const;

  model::Decoder& decoder_;
  std::int64_t index_;
  HiddenStates& student_;
  const HiddenStates* target_;
  Report report_;
  bool moved_ = false;  // the hidden states are behind the block already
};

class LayerPass {
 public:
  // batches: tokens [B, L] int64, on any device. Error where the folder holds a pass with other text, another
  // model or another key, or where another program has it.
  LayerPass(model::Decoder& decoder, std::span<const at::Tensor> batches, LayerPassOptions options = {});

  // The first block that run() visits: above 0 where it goes on. The decoder's blocks before it must be as
  // they were left; what `visit` has stored before it returned is all that is needed for that.
  std::int64_t next() const { return next_; }

  // Without gradients. Visits every block from next() on, still float; the pass goes on behind it with what
  // it has become.
  void run(const std::function<void(Block& block)>& visit, ProgressReporter& progress);
  // The same up to block `end`, for blocks whose `visit` only brings back what they have become before.
  void repeat(std::int64_t end, const std::function<void(Block& block)>& visit, ProgressReporter& progress);

 private:
  void walk(std::int64_t end, std::int64_t steps, const std::function<void(Block& block)>& visit,
            ProgressReporter& progress);
  void open_folder();
  void begin(std::span<const at::Tensor> batches);
  bool go_on();
  void save_state() const;
  void visit_block(const std::function<void(Block& block)>& visit, const Block::Report& report);
  void finish();

  model::Decoder& decoder_;
  LayerPassOptions options_;
  std::unique_ptr<FileLock> lock_;
  std::optional<Temporary> temporary_;
  std::string identity_;  // of text, model and key
  std::optional<HiddenStates> student_, float_;
  std::int64_t next_ = 0;
};

}  // namespace lrqat::start
