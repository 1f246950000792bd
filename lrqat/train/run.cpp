#include "lrqat/train/run.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/sha256.h"
#include "lrqat/train/tensor_file.h"

namespace lrqat::train {
namespace {

namespace fs = std::filesystem;

std::string checkpoint_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  return "step-" + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

void check_fingerprint(const fs::path& run, const char* key, const std::string& now, const char* what) {
  const fs::path path = run / "run.json";
  if (json_get<std::string>(read_json_file(path), key, path.string()) == now) return;
  fail(run.string(), ": ", what,
       " is not the one that this run began with; resume with the original, or start a new run");
}

}  // namespace

Json to_json(const RunState& state) {
  return {{"step", state.step},          {"position", state.position}, {"tokens", state.tokens},
          {"seconds", state.seconds},    {"loss", state.loss},         {"best_nll", state.best_nll},
          {"best_step", state.best_step}};
}

RunState run_state_from_json(const Json& json, const std::string& where) {
  RunState state;
  state.step = json_get<std::int64_t>(json, "step", where);
  state.position = json_get<std::int64_t>(json, "position", where);
  state.tokens = json_get<std::int64_t>(json, "tokens", where);
  state.seconds = json_get<double>(json, "seconds", where);
  state.loss = json_get<double>(json, "loss", where);
  state.best_nll = json_get<double>(json, "best_nll", where);
  state.best_step = json_get<std::int64_t>(json, "best_step", where);
  return state;
}

Run Run::create(const fs::path& path, const Recipe& recipe, const std::string& model_fingerprint,
                const std::string& data_fingerprint) {
  if (fs::exists(path)) {
    fail(path.string(), " exists: give another --out, or continue a run there with --resume");
  }
  AtomicDirectory folder(path, /*replace=*/false);
  write_text_file(folder.path() / "recipe.toml", print_recipe(recipe));
  const Json json{{"model", model_fingerprint}, {"data", data_fingerprint}};
  write_text_file(folder.path() / "run.json", json.dump(2) + "\n");
  fs::create_directory(folder.path() / "checkpoints");
  folder.commit();
  return {path, recipe};
}

bool Run::is_run(const fs::path& path) {
  return fs::is_regular_file(path / "recipe.toml") && fs::is_regular_file(path / "run.json");
}

Run Run::open(const fs::path& path) {
  if (!is_run(path)) fail(path.string(), ": not a training run (a folder with recipe.toml and run.json)");
  Recipe recipe;
  read_recipe(path / "recipe.toml", recipe);
  return {path, recipe};
}

void Run::check_model(const std::string& fingerprint) const {
  check_fingerprint(path_, "model", fingerprint, "the model");
}

void Run::check_data(const std::string& fingerprint) const {
  check_fingerprint(path_, "data", fingerprint, "the training data (after tokenizing)");
}

void Run::save_prepared(const model::Decoder& decoder) const {
  TensorList tensors;
  for (const nn::Linear* linear : decoder.linears()) {
    for (const auto& [name, tensor] : linear->weight()->buffers()) {
      tensors.emplace_back(linear->name() + "." + name, tensor);
    }
  }
  for (const auto& quantizer : decoder.activation_quantizers()) {
    for (const auto& [name, tensor] : quantizer->buffers()) tensors.emplace_back(name, tensor);
  }
  for (const auto& [name, tensor] : decoder.replaced()) tensors.emplace_back(name, tensor);
  save_tensors(path_ / "prepared.safetensors", tensors);
}

Json Run::index() const { return read_json_file(path_ / "checkpoints" / "index.json"); }

bool Run::has_checkpoint() const { return fs::is_regular_file(path_ / "checkpoints" / "index.json"); }

fs::path Run::checkpoint(const std::string& which) const {
  const fs::path folder = path_ / "checkpoints";
  return folder / json_get<std::string>(index(), which, (folder / "index.json").string());
}

void Run::save_checkpoint(const model::Decoder& decoder, const AdamW& optimizer, const RunState& state,
                          bool best) const {
  const std::string name = checkpoint_name(state.step);
  AtomicDirectory folder(path_ / "checkpoints" / name, /*replace=*/true);
  TensorList trainables;
  for (const quant::Parameter& parameter : decoder.parameters()) {
    trainables.emplace_back(parameter.name, parameter.value);
  }
  save_tensors(folder.path() / "trainables.safetensors", trainables);
  save_tensors(folder.path() / "optimizer.safetensors", optimizer.state());
  write_text_file(folder.path() / "state.json", to_json(state).dump(2) + "\n");
  folder.commit();
  Json index = has_checkpoint() ? this->index() : Json::object();
  index["last"] = name;
  if (best) index["best"] = name;
  write_text_file(path_ / "checkpoints" / "index.json", index.dump(2) + "\n");
  prune(index);
}

void Run::prune(const Json& index) const {
  for (const auto& entry : fs::directory_iterator(path_ / "checkpoints")) {
    const std::string name = entry.path().filename().string();
    const bool kept = name == index.value("last", "") || name == index.value("best", "");
    if (entry.is_directory() && !kept) fs::remove_all(entry.path());
  }
}

RunState Run::last_state() const {
  const fs::path path = checkpoint("last") / "state.json";
  return run_state_from_json(read_json_file(path), path.string());
}

void Run::load_optimizer(AdamW& optimizer) const {
  const auto tensors = load_tensors(checkpoint("last") / "optimizer.safetensors");
  optimizer.load_state({tensors.begin(), tensors.end()});
}

void Run::save_result(const Json& result) const {
  write_text_file(path_ / "result.json", result.dump(2) + "\n");
}

std::string model_fingerprint(const formats::WeightSource& source) {
  constexpr std::size_t kBytes = 4096;
  Sha256 hash;
  const auto add = [&](const std::string& text) { hash.update(std::as_bytes(std::span(text))); };
  add(formats::config_to_json(source.config()).dump());
  std::vector<std::string> names = source.names();
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const formats::SourceTensor raw = source.raw(name);
    add(name + " " + source.dtype_name(name));
    hash.update(std::as_bytes(std::span(raw.shape)));
    hash.update(raw.data.first(std::min(kBytes, raw.data.size())));
  }
  return hash.hex_digest();
}

}  // namespace lrqat::train
