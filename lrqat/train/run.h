// A run on disk. What stands in its folder:
//   recipe.toml             the resolved recipe
//   run.json                what else the run began with (run_record.h)
//   lock                    locked by the program that trains
//   start/                  layers that are prepared, until all of them are (run_start.h)
//   prepared.safetensors    what training never changes (phi_0, …), written once
//   checkpoints/            where training stands (checkpoints.h)
//   metrics.jsonl, layers.jsonl, events.out.tfevents.*
//   result.json             once the run has ended
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "lrqat/base/file.h"
#include "lrqat/base/file_lock.h"
#include "lrqat/base/json.h"
#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/train/checkpoints.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/run_record.h"
#include "lrqat/train/train_state.h"

namespace lrqat::train {

class Run {
 public:
  // A new run, locked. It lies in a folder beside `path`, which goes away with the last copy of this object
  // unless publish() has renamed it to `path`. Error where `path` exists: nothing is ever overwritten.
  // publish() does nothing where the run is there already.
  static Run create(const std::filesystem::path& path, const Recipe& recipe, const RunRecord& record);
  void publish();

  // To read; another program may be training it. Error where `path` is not a run or its files are damaged.
  static Run open(const std::filesystem::path& path);
  // To continue: locked as long as a copy of this object lives. Error where another program holds it.
  // What killed programs left in it is removed.
  static Run open_to_train(const std::filesystem::path& path);
  static bool is_run(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const Recipe& recipe() const { return recipe_; }
  const RunRecord& record() const { return record_; }
  int threads() const { return record_.threads; }
  std::string other_machine() const { return train::other_machine(record_); }
  Checkpoints checkpoints() const { return {path_ / "checkpoints", recipe_}; }
  std::filesystem::path start_folder() const { return path_ / "start"; }
  bool is_starting() const;  // its student is not prepared yet

  void save_prepared(const model::Decoder& decoder) const;
  std::map<std::string, at::Tensor> load_prepared() const;  // mapped where the recipe says map-frozen
  // Writes a checkpoint of the student. Error where a tensor or the state is not finite: the checkpoints that
  // are there stay.
  void save_checkpoint(const model::Decoder& student, const TrainState& state) const;
  void save_result(const Json& result) const;

 private:
  Run(std::filesystem::path path, Recipe recipe, RunRecord record)
      : path_(std::move(path)), recipe_(std::move(recipe)), record_(std::move(record)) {}

  std::filesystem::path path_;
  Recipe recipe_;
  RunRecord record_;
  std::shared_ptr<AtomicDirectory> unpublished_;
  std::filesystem::path published_;  // where the unpublished folder will be
  std::shared_ptr<FileLock> lock_;   // null: open to read
};

// Gives every linear of `decoder` (the float model of `source`) the run's weight: prepared and as of the last
// (or the best) checkpoint where there is one.
void restore_student(const Run& run, model::Decoder& decoder, const model::SharedSource& source, bool best,
                     ProgressReporter& progress);

// The frozen tensors of a prepared student become those of prepared.safetensors: in memory, or pages of the
// file (recipe: map-frozen). Trainables become copies in memory.
void take_frozen(const Run& run, model::Decoder& decoder);

// How far a run has come that has not taken all its steps, a sentence; else empty.
std::string unfinished(const Run& run);

// The model that the run at `model`, or the run that this one began from, began from; another path as it is.
std::filesystem::path base_model(const std::filesystem::path& model);

// Lets model::open_model and open_source open runs: their best checkpoint where evaluations chose one, else
// the last. Call once at the start of the program.
void register_run_opener();

}  // namespace lrqat::train
