#include "lrqat/train/run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "lrqat/base/cpu.h"
#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/base/sha256.h"
#include "lrqat/base/temporary.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/tensor_file.h"
#include "lrqat/train/fingerprint.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/toml.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 2;  // of run.json; 1 had none, and nothing but fingerprints of model and data
constexpr const char* kDamaged =
    ": the run's file is damaged or was changed; put a copy of it back, or start a new run";
constexpr std::string_view kCheckpointPrefix = "step-";

std::string checkpoint_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  return std::string(kCheckpointPrefix) + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') +
         digits;
}

bool is_checkpoint_name(const std::string& name) {
  return name.starts_with(kCheckpointPrefix) && name.size() > kCheckpointPrefix.size() &&
         name.find_first_not_of("0123456789", kCheckpointPrefix.size()) == std::string::npos;
}

// What read() returns. Whatever it fails with, the user learns which file it was and what can be done.
template <typename Read>
auto read_run_file(const fs::path& path, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    const std::string what = error.what();
    fail(what.find(path.string()) == std::string::npos ? path.string() + ": " : "", what, kDamaged);
  } catch (const std::exception& error) {
    if (is_out_of_memory(error)) throw;
    fail(path.string(), kDamaged);
  }
}

void check_fingerprint(const fs::path& run, const std::string& then, const std::string& now,
                       const char* what) {
  if (then == now) return;
  fail(run.string(), ": ", what,
       " is not the one that this run began with; resume with the original, or start a new run");
}

// Of everything in a recipe file that decides what a run computes. Files are known by their contents (they
// may be moved), and when a run is saved changes nothing.
std::string recipe_fingerprint(const fs::path& path) {
  constexpr std::array kFree{"model",      "data",         "eval-data",    "teacher",
                             "save-every", "save-minutes", "memory-budget"};
  Sha256 hash;
  for (const TomlEntry& entry : parse_toml(read_text_file(path), path.string())) {
    if (std::find(kFree.begin(), kFree.end(), entry.key) != kFree.end()) continue;
    const std::string line = print_toml(entry) + "\n";
    hash.update(std::as_bytes(std::span(line)));
  }
  return hash.hex_digest();
}

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

std::string instructions() {
  const CpuFeatures& cpu = cpu_features();
  return cpu.amx_bf16      ? "amx_bf16"
         : cpu.avx512_bf16 ? "avx512_bf16"
         : cpu.avx512      ? "avx512"
         : cpu.avx2        ? "avx2"
                           : "none";
}

// What a run of this recipe has when `step` steps are done.
void check_state(const RunState& state, const Recipe& recipe, const fs::path& path) {
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

// A run is only ever left with a checkpoint that it can go on from.
void check_before_saving(const fs::path& run, const model::TensorList& trainables, const AdamW& optimizer,
                         const RunState& state) {
  std::string name = model::first_not_finite(trainables);
  if (name.empty()) name = model::first_not_finite(optimizer.state());
  if (name.empty()) {
    const Json json = to_json(state);
    for (const auto& [key, value] : json.items()) {
      if (value.is_number_float() && !std::isfinite(value.get<double>())) name = key;
    }
  }
  if (name.empty()) return;
  fail("step ", state.step, ": ", quote(name),
       " is not finite any more, so no checkpoint is written; the last one in ", run.string(),
       " stays. Try a smaller --lr or --scale-lr");
}

}  // namespace

Json to_json(const RunState& state) {
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

RunState run_state_from_json(const Json& json, const std::string& where) {
  RunState state;
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

RunRecord make_record(const formats::WeightSource& source, const std::string& data, const Recipe& recipe,
                      const formats::WeightSource* teacher) {
  return {.model = model_fingerprint(source),
          .data = data,
          .eval_data = recipe.eval_data.empty() ? "" : file_fingerprint(recipe.eval_data),
          .teacher = teacher == nullptr ? "" : model_fingerprint(*teacher),
          .config = formats::config_to_json(source.config()),
          .threads = at::get_num_threads(),
          .processor = cpu_name(),
          .instructions = instructions()};
}

Run Run::create(const fs::path& path, const Recipe& recipe, const RunRecord& record) {
  if (fs::exists(path)) {
    fail(path.string(), " exists: give another --out, or continue a run there with --resume");
  }
  auto folder = std::make_shared<AtomicDirectory>(path, /*replace=*/false);
  Run run(folder->path(), recipe);
  run.lock_ = FileLock::try_lock(run.path_ / "lock");
  write_text_file(run.path_ / "recipe.toml", print_recipe(recipe));
  const Json json{{"version", kVersion},           {"recipe", recipe_fingerprint(run.path_ / "recipe.toml")},
                  {"model", record.model},         {"config", record.config},
                  {"data", record.data},           {"eval_data", record.eval_data},
                  {"teacher", record.teacher},     {"threads", record.threads},
                  {"processor", record.processor}, {"instructions", record.instructions}};
  write_text_file(run.path_ / "run.json", json.dump(2) + "\n");
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
  const fs::path file = path / "recipe.toml";
  const Recipe recipe = read_run_file(file, [&] {
    Recipe read;
    read.clip_together = true;  // as runs from before these fields were trained
    read.held_out = 0;
    read_recipe(file, read);
    return read;
  });
  const Run run(path, recipe);
  const Json json = run.record_json();
  if (json.contains("recipe") && json["recipe"] != recipe_fingerprint(file)) {
    fail(file.string(), ": is not the recipe that this run began with", kDamaged, " of it (--config ",
         file.string(), ")");
  }
  return run;
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
  // Only older programs made the folder before its first checkpoint.
  if (find_method(run.recipe().method).trains && !run.has_checkpoint() &&
      run.record_json().contains("version")) {
    fail((path / "checkpoints" / "index.json").string(), ": is missing or no file", kDamaged);
  }
  run.lock_ = std::move(lock);
  for (const fs::path& folder : {path, path / "checkpoints"}) recover_targets(folder);
  return run;
}

Json Run::record_json() const {
  const fs::path path = path_ / "run.json";
  return read_run_file(path, [&] {
    Json json = read_json_file(path);
    const auto version = json_get_or<std::int64_t>(json, "version", 1, path.string());
    if (version > kVersion) {
      throw Error(concat(path.string(), ": was written by a later lrqat (version ", version,
                         ", this one knows ", kVersion, ")"));
    }
    for (const char* key : {"model", "data"}) json_get<std::string>(json, key, path.string());
    if (version > 1) {
      for (const char* key : {"recipe", "eval_data", "processor", "instructions"})
        json_get<std::string>(json, key, path.string());
      if (!json.contains("config") || !json["config"].is_object())
        fail(path.string(), ": key \"config\" is missing or no object");
      json_get<int>(json, "threads", path.string());
    }
    return json;
  });
}

void Run::check_model(const formats::WeightSource& source) const {
  const Json json = record_json();
  const auto then = json["model"].get<std::string>();
  if (!json.contains("version"))
    return check_fingerprint(path_, then, model_fingerprint_1(source), "the model");
  const Json config = formats::config_to_json(source.config());
  for (const auto& [key, value] : json["config"].items()) {
    if (config.value(key, Json()) == value) continue;
    fail(path_.string(), ": the model's config has ", key, " ", json_excerpt(config.value(key, Json())),
         ", the one that this run began with ", json_excerpt(value),
         "; resume with the original, or start a new run");
  }
  check_fingerprint(path_, then, model_fingerprint(source), "the model");
}

void Run::check_data(const std::string& fingerprint) const {
  check_fingerprint(path_, record_json()["data"], fingerprint, "the training data (after tokenizing)");
}

void Run::check_eval_data() const {
  const Json json = record_json();
  if (recipe_.eval_data.empty() || !json.contains("eval_data")) return;
  check_fingerprint(path_, json["eval_data"], file_fingerprint(recipe_.eval_data), "the evaluation text");
}

std::string Run::other_machine() const {
  const Json json = record_json();
  const std::string then = json.value("instructions", ""), now = instructions();
  if (then.empty() || then == now) return {};
  return concat("the run began on a processor with ", then, " (", json.value("processor", ""),
                ") and goes on with ", now, ": sums may differ in their last bits");
}

int Run::threads() const { return record_json().value("threads", 0); }

void Run::check_teacher(const formats::WeightSource& teacher) const {
  if (recipe_.teacher.empty()) return;
  check_fingerprint(path_, record_json().value("teacher", ""), model_fingerprint(teacher), "the teacher");
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

bool Run::has_checkpoint() const { return fs::is_regular_file(path_ / "checkpoints" / "index.json"); }

Run::Index Run::index() const {
  const fs::path path = path_ / "checkpoints" / "index.json";
  return read_run_file(path, [&] {
    const Json json = read_json_file(path);
    const Index index{json_get<std::string>(json, "last", path.string()),
                      json_get_or<std::string>(json, "best", "", path.string())};
    const auto check = [&](const std::string& name) {
      if (!is_checkpoint_name(name))
        fail(path.string(), ": names a checkpoint ", quote(name), ", expected ", kCheckpointPrefix, "N");
    };
    check(index.last);
    if (!index.best.empty()) check(index.best);
    return index;
  });
}

void Run::save_checkpoint(const model::Decoder& decoder, const AdamW& optimizer, const RunState& state,
                          bool best) const {
  model::TensorList trainables;
  for (const quant::Parameter& parameter : decoder.parameters()) {
    trainables.emplace_back(parameter.name, parameter.value);
  }
  check_before_saving(published_.empty() ? path_ : published_, trainables, optimizer, state);
  const std::string name = checkpoint_name(state.step);
  AtomicDirectory folder(path_ / "checkpoints" / name, /*replace=*/true);
  model::save_tensors(folder.path() / "trainables.safetensors", trainables);
  model::save_tensors(folder.path() / "optimizer.safetensors", optimizer.state());
  write_text_file(folder.path() / "state.json", to_json(state).dump(2) + "\n");
  folder.commit();
  Index index = has_checkpoint() ? this->index() : Index{};
  index.last = name;
  if (best) index.best = name;
  if (state.best_step < 0) index.best.clear();  // chosen by other means, in an older run
  Json json{{"last", index.last}};
  if (!index.best.empty()) json["best"] = index.best;
  write_text_file(path_ / "checkpoints" / "index.json", json.dump(2) + "\n");
  prune(index);
}

void Run::prune(const Index& index) const {
  for (const auto& entry : fs::directory_iterator(path_ / "checkpoints")) {
    const std::string name = entry.path().filename().string();
    const bool kept = name == index.last || name == index.best;
    if (entry.is_directory() && is_checkpoint_name(name) && !kept) fs::remove_all(entry.path());
  }
}

// read(path) of a checkpoint's file. Where training goes on and removes the checkpoint meanwhile, of the
// next.
template <typename Read>
auto Run::read_checkpoint(bool best, const char* file, const Read& read) const {
  constexpr int kAttempts = 100;
  for (int attempt = 1;; ++attempt) {
    const Index now = index();
    const std::string name = best ? now.best : now.last;
    const fs::path path = path_ / "checkpoints" / name / file;
    try {
      return read_run_file(path, [&] { return read(path); });
    } catch (const Error&) {
      const Index later = index();
      if (attempt == kAttempts || (best ? later.best : later.last) == name) throw;
    }
  }
}

RunState Run::last_state() const {
  return read_checkpoint(/*best=*/false, "state.json", [&](const fs::path& path) {
    const RunState state = run_state_from_json(read_json_file(path), path.string());
    check_state(state, recipe_, path);
    return state;
  });
}

std::map<std::string, at::Tensor> Run::load_trainables(bool best) const {
  return read_checkpoint(best, "trainables.safetensors", model::load_finite);
}

void Run::load_optimizer(AdamW& optimizer) const {
  read_checkpoint(/*best=*/false, "optimizer.safetensors", [&](const fs::path& path) {
    const auto tensors = model::load_finite(path);
    optimizer.load_state({tensors.begin(), tensors.end()});
  });
}

std::map<std::string, at::Tensor> Run::load_frozen() const {
  const fs::path path = path_ / "prepared.safetensors";
  return read_run_file(
      path, [&] { return recipe_.map_frozen ? model::map_tensors(path) : model::load_tensors(path); });
}

void Run::save_result(const Json& result) const {
  write_text_file(path_ / "result.json", json_text(result, 2) + "\n");
}

}  // namespace lrqat::train
