// A run on disk. What stands in its folder:
//   recipe.toml             the resolved recipe
//   run.json                fingerprints of model and data, written when the run starts
//   prepared.safetensors    what training never changes (phi_0, …), written once
//   checkpoints/step-N/     trainables.safetensors, optimizer.safetensors, state.json
//   checkpoints/index.json  which of them is the last and which the best
//   metrics.jsonl, layers.jsonl, events.out.tfevents.*
//   result.json             once the run has ended
#pragma once

#include <filesystem>
#include <string>

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
  double best_nll = 0.0;      // of the best evaluation; meaningful where best_step >= 0
  std::int64_t best_step = -1;
};
Json to_json(const RunState& state);
RunState run_state_from_json(const Json& json, const std::string& where);

class Run {
 public:
  // A new folder with recipe and fingerprints. Error where `path` exists: nothing is ever overwritten.
  static Run create(const std::filesystem::path& path, const Recipe& recipe,
                    const std::string& model_fingerprint, const std::string& data_fingerprint);
  // Error where `path` is not a run.
  static Run open(const std::filesystem::path& path);
  static bool is_run(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const Recipe& recipe() const { return recipe_; }
  // Error naming what differs from what the run began with.
  void check_model(const std::string& fingerprint) const;
  void check_data(const std::string& fingerprint) const;

  void save_prepared(const model::Decoder& decoder) const;

  bool has_checkpoint() const;
  // Writes checkpoint `state.step`, makes it the last (and the best where `best`), removes what is neither.
  void save_checkpoint(const model::Decoder& decoder, const AdamW& optimizer, const RunState& state,
                       bool best) const;
  RunState last_state() const;
  std::filesystem::path last_checkpoint() const { return checkpoint("last"); }
  void load_optimizer(AdamW& optimizer) const;  // of the last checkpoint

  void save_result(const Json& result) const;

 private:
  Run(std::filesystem::path path, Recipe recipe) : path_(std::move(path)), recipe_(std::move(recipe)) {}
  Json index() const;
  std::filesystem::path checkpoint(const std::string& which) const;  // "last" or "best"
  void prune(const Json& index) const;
  friend void restore_student(const Run&, model::Decoder&, const model::SharedSource&, bool,
                              ProgressReporter&);
  friend void map_frozen(const Run&, model::Decoder&);

  std::filesystem::path path_;
  Recipe recipe_;
};

// Gives every linear of `decoder` (the float model of `source`) the run's weight: prepared and as of the last
// (or the best) checkpoint where there is one.
void restore_student(const Run& run, model::Decoder& decoder, const model::SharedSource& source, bool best,
                     ProgressReporter& progress);

// The frozen tensors of a prepared student become pages of the run's file (recipe: map-frozen); trainables
// stay.
void map_frozen(const Run& run, model::Decoder& decoder);

// sha256 over config, names, types and shapes and the first bytes of every tensor: another model is noticed
// without reading all of it.
std::string model_fingerprint(const formats::WeightSource& source);

// Lets model::open_model open runs: their best checkpoint where evaluations chose one, else the last. Call
// once at the start of the program.
void register_run_opener();

}  // namespace lrqat::train
