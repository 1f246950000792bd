// A run on disk. What stands in its folder:
//   recipe.toml             the resolved recipe
//   run.json                what the run began with: fingerprints of model and texts, the machine
//   lock                    locked by the program that trains
//   prepared.safetensors    what training never changes (phi_0, …), written once
//   checkpoints/step-N/     trainables.safetensors, optimizer.safetensors, state.json
//   checkpoints/index.json  which of them is the last and which the best
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
#include "lrqat/train/optimizer.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Where a run stands; everything besides tensors that the next step depends on.
struct RunState {
  std::int64_t step = 0;      // steps done
  std::int64_t position = 0;  // of the sampler
  std::int64_t tokens = 0;    // trained on
  double seconds = 0.0;       // in training steps, over all sessions
  double loss = 0.0;          // of the last step
  std::int64_t scored = 0;    // predictions that counted, over all steps
  // The trained objective on held-out text, a token: before the first step, the last time, and the least,
  // which is that of best_step. Meaningful where best_step >= 0.
  double start_objective = 0.0;
  double last_objective = 0.0;
  double best_objective = 0.0;
  std::int64_t best_step = -1;
};
Json to_json(const RunState& state);
RunState run_state_from_json(const Json& json, const std::string& where);

// What a run begins with besides its recipe.
struct RunRecord {
  std::string model;                     // fingerprints (train/fingerprint.h)
  std::string data, eval_data, teacher;  // empty: the run has none
  Json config;                           // the model's
  int threads = 0;
  std::string processor, instructions;  // the machine's
};
// Of these inputs on this machine. `data`: the fingerprint of the training text. teacher: null where the
// recipe names none.
RunRecord make_record(const formats::WeightSource& source, const std::string& data, const Recipe& recipe,
                      const formats::WeightSource* teacher = nullptr);

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
  int threads() const;  // that it began with; 0: not known (runs of version 1)
  // Where this machine's vector instructions are not those that the run began with, a sentence; else empty.
  std::string other_machine() const;
  // Error naming what differs from what the run began with.
  void check_model(const formats::WeightSource& source) const;
  void check_data(const std::string& fingerprint) const;
  void check_eval_data() const;
  void check_teacher(const formats::WeightSource& teacher) const;  // where the recipe names one

  void save_prepared(const model::Decoder& decoder) const;

  bool has_checkpoint() const;
  // Writes checkpoint `state.step`, makes it the last (and the best where `best`), removes what is neither.
  // Error where a tensor or the state is not finite: the checkpoints that are there stay.
  void save_checkpoint(const model::Decoder& decoder, const AdamW& optimizer, const RunState& state,
                       bool best) const;
  RunState last_state() const;
  bool has_best() const { return !index().best.empty(); }
  // The parameters of a checkpoint, the best (Error where there is none) or the last.
  std::map<std::string, at::Tensor> load_trainables(bool best) const;
  std::map<std::string, at::Tensor> load_frozen() const;  // the prepared tensors
  void load_optimizer(AdamW& optimizer) const;            // of the last checkpoint

  void save_result(const Json& result) const;

 private:
  struct Index {  // names of folders in checkpoints/
    std::string last, best;
  };

  Run(std::filesystem::path path, Recipe recipe) : path_(std::move(path)), recipe_(std::move(recipe)) {}
  Json record_json() const;
  Index index() const;
  template <typename Read>
  auto read_checkpoint(bool best, const char* file, const Read& read) const;
  void prune(const Index& index) const;

  std::filesystem::path path_;
  Recipe recipe_;
  std::shared_ptr<AtomicDirectory> unpublished_;
  std::filesystem::path published_;  // where the unpublished folder will be
  std::shared_ptr<FileLock> lock_;   // null: open to read
};

// Gives every linear of `decoder` (the float model of `source`) the run's weight: prepared and as of the last
// (or the best) checkpoint where there is one.
void restore_student(const Run& run, model::Decoder& decoder, const model::SharedSource& source, bool best,
                     ProgressReporter& progress);

// The frozen tensors of a prepared student become pages of the run's file (recipe: map-frozen); trainables
// stay.
void map_frozen(const Run& run, model::Decoder& decoder);

// How far a run has come that has not taken all its steps, a sentence; else empty.
std::string unfinished(const Run& run);

// The model that the run at `model`, or the run that this one began from, began from; another path as it is.
std::filesystem::path base_model(const std::filesystem::path& model);

// Lets model::open_model and open_source open runs: their best checkpoint where evaluations chose one, else
// the last. Call once at the start of the program.
void register_run_opener();

}  // namespace lrqat::train
