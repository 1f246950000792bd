#include "lrqat/train/run.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/base/temporary.h"
#include "lrqat/base/user_text.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/run_file.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

// Of every file and folder in `folder`.
void recover_targets(const fs::path& folder) {
  std::set<fs::path> targets;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::size_t end = std::min(name.rfind(".lrqat-tmp-"), name.rfind(".lrqat-old-"));
    if (end != std::string::npos) targets.insert(folder / name.substr(0, end));
  }
  for (const fs::path& target : targets) recover_target(target);
}

// A run is only ever left with a checkpoint that it can go on from.
void check_before_saving(const fs::path& run, const model::TensorList& trainables, const TrainState& state) {
  std::string name = model::first_not_finite(trainables);
  if (name.empty()) name = model::first_not_finite(state.optimizer);
  if (name.empty()) {
    const Json json = to_json(state);
    for (const auto& [key, value] : json.items()) {
      if (value.is_number_float() && !std::isfinite(value.get<double>())) name = key;
    }
  }
  if (name.empty()) return;
  fail("step ", state.step, ": ", quote(name),
       " is not finite any more, so no checkpoint is written; the last one in ", run.string(),
       " stays. Try a smaller `lr` or `scale-lr`");
}

Recipe read_run_recipe(const fs::path& file) {
  return read_run_file(file, [&] {
    Recipe read;
    read.clip_together = true;  // as runs from before these fields were trained
    read.held_out = 0;
    read_recipe(file, read);
    return read;
  });
}

}  // namespace

Run Run::create(const fs::path& path, const Recipe& recipe, const RunRecord& record) {
  if (fs::exists(path)) {
    fail(path.string(), " exists: give another `out`, or continue a run there with `resume`");
  }
  auto folder = std::make_shared<AtomicDirectory>(path, /*replace=*/false);
  Run run(folder->path(), recipe, record);
  run.lock_ = FileLock::try_lock(run.path_ / "lock");
  write_text_file(run.path_ / "recipe.toml", print_recipe(recipe));
  write_record(run.path_, record);
  fs::create_directory(run.path_ / "checkpoints");
  run.unpublished_ = std::move(folder);
  run.published_ = path;
  return run;
}

void Run::publish() {
  if (unpublished_ == nullptr) return;
  unpublished_->commit();
  unpublished_ = nullptr;
  path_ = published_;
}

bool Run::is_run(const fs::path& path) {
  return fs::is_regular_file(path / "recipe.toml") && fs::is_regular_file(path / "run.json");
}

Run Run::open(const fs::path& path) {
  if (!is_run(path)) fail(path.string(), ": not a training run (a folder with recipe.toml and run.json)");
  Recipe recipe = read_run_recipe(path / "recipe.toml");
  return {path, std::move(recipe), read_record(path)};
}

bool Run::is_starting() const {
  const bool prepared =
      method_of(recipe_).trains ? checkpoints().any() : fs::exists(path_ / "prepared.safetensors");
  return !prepared && fs::is_directory(start_folder());
}

Run Run::open_to_train(const fs::path& path) {
  if (!is_run(path)) return open(path);
  auto lock = FileLock::try_lock(path / "lock");
  if (lock == nullptr) {
    fail(path.string(),
         ": another program is training this run; wait for it, or stop it (Ctrl-C or SIGTERM: ",
         "it saves first)");
  }
  Run run = open(path);
  // Only older programs made the folder before its first checkpoint without a start that goes on.
  if (method_of(run.recipe()).trains && !run.checkpoints().any() && !run.is_starting() &&
      run.record().version > 1) {
    fail((path / "checkpoints" / "index.json").string(), ": is missing or no file", kDamaged);
  }
  run.lock_ = std::move(lock);
  for (const fs::path& folder : {path, path / "checkpoints"}) recover_targets(folder);
  if (!run.is_starting()) fs::remove_all(run.start_folder());
  return run;
}

void Run::save_prepared(const model::Decoder& decoder) const {
  model::TensorList tensors;
  for (const nn::Linear* linear : decoder.linears()) {
    for (const auto& [name, tensor] : linear->weight()->buffers()) {
      tensors.emplace_back(linear->name() + "." + name, tensor);
    }
  }
  for (const auto& quantizer : decoder.activation_quantizers()) {
    for (const auto& [name, tensor] : quantizer->buffers()) tensors.emplace_back(name, tensor);
  }
  for (const auto& [name, tensor] : decoder.replaced()) tensors.emplace_back(name, tensor);
  model::save_tensors(path_ / "prepared.safetensors", tensors);
}

std::map<std::string, at::Tensor> Run::load_prepared() const {
  const fs::path path = path_ / "prepared.safetensors";
  return read_run_file(
      path, [&] { return recipe_.map_frozen ? model::map_tensors(path) : model::load_tensors(path); });
}

void Run::save_checkpoint(const model::Decoder& student, const TrainState& state) const {
  model::TensorList trainables;
  for (const quant::Parameter& parameter : student.parameters())
    trainables.emplace_back(parameter.name, parameter.value);
  check_before_saving(published_.empty() ? path_ : published_, trainables, state);
  checkpoints().save(trainables, state);
}

void Run::save_result(const Json& result) const {
  write_text_file(path_ / "result.json", json_text(result, 2) + "\n");
}

}  // namespace lrqat::train
