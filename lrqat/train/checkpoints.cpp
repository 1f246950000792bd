#include "lrqat/train/checkpoints.h"

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/temporary.h"
#include "lrqat/base/user_text.h"
#include "lrqat/train/run_file.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";

std::string checkpoint_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  return std::string(kPrefix) + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

bool is_checkpoint_name(const std::string& name) {
  return name.starts_with(kPrefix) && name.size() > kPrefix.size() &&
         name.find_first_not_of("0123456789", kPrefix.size()) == std::string::npos;
}

TrainState state_from_json(const Json& json, const std::string& where) {
  TrainState state;
  state.step = json_get<std::int64_t>(json, "step", where);
  state.position = json_get<std::int64_t>(json, "position", where);
  state.tokens = json_get<std::int64_t>(json, "tokens", where);
  state.seconds = json_get<double>(json, "seconds", where);
  state.loss = json_get<double>(json, "loss", where);
  if (json.contains("best_nll"))
    return state;  // an older program chose by another measure: that best is forgotten
  state.scored = json_get<std::int64_t>(json, "scored", where);
  state.start_objective = json_get<double>(json, "start_objective", where);
  state.last_objective = json_get<double>(json, "last_objective", where);
  state.best_objective = json_get<double>(json, "best_objective", where);
  state.best_step = json_get<std::int64_t>(json, "best_step", where);
  return state;
}

// Against what a run of this recipe has when `step` steps are done.
void check_state(const TrainState& state, const Recipe& recipe, const fs::path& path) {
  const auto refuse = [&](const char* key, auto found, const auto&... expected) {
    fail(path.string(), ": ", quote(key), " is ", found, ", expected ", concat(expected...));
  };
  if (state.step < 0 || state.step > recipe.steps) refuse("step", state.step, "0 to ", recipe.steps);
  const std::int64_t position = state.step * recipe.gradient_accumulation * recipe.batch_size;
  if (state.position != position) refuse("position", state.position, position, " after step ", state.step);
  const std::int64_t tokens = position * recipe.sequence_length;
  if (state.tokens != tokens) refuse("tokens", state.tokens, tokens, " after step ", state.step);
  if (!std::isfinite(state.seconds) || state.seconds < 0) refuse("seconds", state.seconds, "0 or more");
  if (state.best_step < -1 || state.best_step > state.step)
    refuse("best_step", state.best_step, "-1 to ", state.step);
}

}  // namespace

Json to_json(const TrainState& state) {
  return {{"step", state.step},
          {"position", state.position},
          {"tokens", state.tokens},
          {"scored", state.scored},
          {"seconds", state.seconds},
          {"loss", state.loss},
          {"start_objective", state.start_objective},
          {"last_objective", state.last_objective},
          {"best_objective", state.best_objective},
          {"best_step", state.best_step}};
}

bool Checkpoints::any() const { return fs::is_regular_file(index_file()); }

Checkpoints::Index Checkpoints::index() const {
  const fs::path path = index_file();
  return read_run_file(path, [&] {
    const Json json = read_json_file(path);
    const Index index{json_get<std::string>(json, "last", path.string()),
                      json_get_or<std::string>(json, "best", "", path.string())};
    const auto check = [&](const std::string& name) {
      if (!is_checkpoint_name(name))
        fail(path.string(), ": names a checkpoint ", quote(name), ", expected ", kPrefix, "N");
    };
    check(index.last);
    if (!index.best.empty()) check(index.best);
    return index;
  });
}

void Checkpoints::save(const model::TensorList& trainables, const TrainState& state) const {
  const std::string name = checkpoint_name(state.step);
  AtomicDirectory folder(folder_ / name, /*replace=*/true);
  model::save_tensors(folder.path() / "trainables.safetensors", trainables);
  model::save_tensors(folder.path() / "optimizer.safetensors", state.optimizer);
  write_text_file(folder.path() / "state.json", to_json(state).dump(2) + "\n");
  folder.commit();
  Index index = any() ? this->index() : Index{};
  index.last = name;
  if (state.is_best()) index.best = name;
  if (state.best_step < 0) index.best.clear();  // chosen by other means, in an older run
  Json json{{"last", index.last}};
  if (!index.best.empty()) json["best"] = index.best;
  write_text_file(index_file(), json.dump(2) + "\n");
  remove_others(index);
}

void Checkpoints::remove_others(const Index& index) const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    const bool kept = name == index.last || name == index.best;
    if (entry.is_directory() && is_checkpoint_name(name) && !kept) fs::remove_all(entry.path());
  }
}

// read(path) of a checkpoint's file. Where training goes on and removes the checkpoint meanwhile, of the
// next.
template <typename Read>
auto Checkpoints::read(bool best, const char* file, const Read& read) const {
  constexpr int kAttempts = 100;
  for (int attempt = 1;; ++attempt) {
    const Index now = index();
    const std::string name = best ? now.best : now.last;
    const fs::path path = folder_ / name / file;
    try {
      return read_run_file(path, [&] { return read(path); });
    } catch (const Error&) {
      const Index later = index();
      if (attempt == kAttempts || (best ? later.best : later.last) == name) throw;
    }
  }
}

TrainState Checkpoints::last_state() const {
  return read(/*best=*/false, "state.json", [&](const fs::path& path) {
    TrainState state = state_from_json(read_json_file(path), path.string());
    check_state(state, recipe_, path);
    state.stage = state.step == recipe_.steps ? Stage::finished : Stage::training;
    return state;
  });
}

std::map<std::string, at::Tensor> Checkpoints::load_trainables(bool best) const {
  return read(best, "trainables.safetensors", model::load_finite);
}

void Checkpoints::load_optimizer(const std::function<void(model::TensorList)>& take) const {
  read(/*best=*/false, "optimizer.safetensors", [&](const fs::path& path) {
    const auto tensors = model::load_finite(path);
    take({tensors.begin(), tensors.end()});
  });
}

}  // namespace lrqat::train
