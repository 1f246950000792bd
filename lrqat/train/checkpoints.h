// The checkpoints of a run, RUN/checkpoints:
//   step-N/     trainables.safetensors, optimizer.safetensors, state.json
//   index.json  which of them is the last and which the best; the others are removed
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/model/tensor_file.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/train_state.h"

namespace lrqat::train {

// Of state.json, without the optimiser's tensors. The stage is what the steps say.
Json to_json(const TrainState& state);

// Another program may be writing the checkpoints that are read. Errors name the file and say what can be
// done.
class Checkpoints {
 public:
  // recipe: the run's.
  Checkpoints(std::filesystem::path folder, const Recipe& recipe)
      : folder_(std::move(folder)), recipe_(recipe) {}

  bool any() const;
  bool has_best() const { return !index().best.empty(); }
  // Writes checkpoint `state.step`, makes it the last (and the best where the state is), removes what is
  // neither. trainables: the student's parameters.
  void save(const model::TensorList& trainables, const TrainState& state) const;

  TrainState last_state() const;  // without the optimiser's tensors
  // The parameters of a checkpoint, the best (Error where there is none) or the last.
  std::map<std::string, at::Tensor> load_trainables(bool best) const;
  // Gives `take` the optimiser's tensors of the last one. An Error of take's is one of the file.
  void load_optimizer(const std::function<void(model::TensorList)>& take) const;

 private:
  struct Index {  // names of folders
    std::string last, best;
  };

  std::filesystem::path index_file() const { return folder_ / "index.json"; }
  Index index() const;
  template <typename Read>
  auto read(bool best, const char* file, const Read& read) const;
  void remove_others(const Index& index) const;

  std::filesystem::path folder_;
  const Recipe& recipe_;
};

}  // namespace lrqat::train
