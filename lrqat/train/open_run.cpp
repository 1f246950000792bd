// Runs as models: what restoring a student and `--model RUN` share.
#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/model/activations.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/open.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/run.h"
#include "lrqat/train/tensor_file.h"

namespace lrqat::train {
namespace {

// The tensors "<layer>.<name>" of one layer by <name>, moved out of `all`.
NamedTensors take_layer(std::map<std::string, at::Tensor>& all, const std::string& layer, at::Device device) {
  NamedTensors out;
  const std::string prefix = layer + ".";
  for (auto it = all.lower_bound(prefix); it != all.end() && it->first.starts_with(prefix);) {
    out.emplace(it->first.substr(prefix.size()), it->second.to(device));
    it = all.erase(it);
  }
  return out;
}

std::map<std::string, at::Tensor> frozen_tensors(const Run& run) {
  const auto path = run.path() / "prepared.safetensors";
  return run.recipe().map_frozen ? map_tensors(path) : load_tensors(path);
}

bool is_best_known(const Run& run) {
  return run.has_checkpoint() && read_json_file(run.path() / "checkpoints" / "index.json").contains("best");
}

model::OpenedModel open_run(const std::filesystem::path& path, const model::LoadOptions& options) {
  const Run run = Run::open(path);
  model::SharedSource source(model::open_source(run.recipe().model));
  auto decoder = model::load_float_model(source, options);
  SilentProgress silent;
  restore_student(run, *decoder, source, is_best_known(run), silent);
  return {"run", path, std::move(decoder), std::move(source), run.recipe().model};
}

}  // namespace

void restore_student(const Run& run, model::Decoder& decoder, const model::SharedSource& source, bool best,
                     ProgressReporter& progress) {
  run.check_model(model_fingerprint(*source));
  const Method& method = find_method(run.recipe().method);
  decoder.set_activations(run.recipe().activations);
  const bool calibrated = !method.trains && std::filesystem::exists(run.path() / "prepared.safetensors");
  if (!method.trains && !calibrated) {
    prepare_linears(method, run.recipe(), decoder, *source, progress);
    return;
  }
  if (method.trains && !run.has_checkpoint()) {
    fail(run.path().string(),
         ": the run has no checkpoint yet; continue it with `lrqat train --resume --out ",
         run.path().string(), "`");
  }
  std::map<std::string, at::Tensor> tensors;
  if (method.trains)
    tensors = load_tensors(run.checkpoint(best ? "best" : "last") / "trainables.safetensors");
  tensors.merge(frozen_tensors(run));  // what was trained stays
  for (nn::Linear* linear : decoder.linears()) {
    const SavedLayer saved{linear->name(), linear->in_features(),
                           take_layer(tensors, linear->name(), decoder.device())};
    if (auto weight = restore_layer(method, run.recipe(), saved)) linear->set_weight(std::move(weight));
  }
  model::take_ranges(decoder, tensors, run.path().string());
  for (const auto& [name, tensor] : tensors) {  // norms, embedding, head
    if (!decoder.replace(name, tensor.to(decoder.device())))
      fail(run.path().string(), ": tensor \"", name, "\" belongs to nothing in this model");
  }
}

void map_frozen(const Run& run, model::Decoder& decoder) {
  const Method& method = find_method(run.recipe().method);
  auto tensors = frozen_tensors(run);
  for (nn::Linear* linear : decoder.linears()) {
    SavedLayer saved{linear->name(), linear->in_features(),
                     take_layer(tensors, linear->name(), decoder.device())};
    if (saved.tensors.empty()) continue;  // nothing of it is frozen, or it stays as it is
    for (const quant::Parameter& parameter : linear->weight()->parameters())
      saved.tensors.emplace(parameter.name, parameter.value.detach());
    if (auto weight = restore_layer(method, run.recipe(), saved)) linear->set_weight(std::move(weight));
  }
  release_free_memory();
}

void register_run_opener() { model::add_model_opener({"run", Run::is_run, open_run}); }

}  // namespace lrqat::train
