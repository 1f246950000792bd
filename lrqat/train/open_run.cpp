// Runs as models: what restoring a student and `--model RUN` share.
#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/base/user_text.h"
#include "lrqat/corpus/data_files.h"
#include "lrqat/model/activations.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/open.h"
#include "lrqat/model/tensor_file.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/start/kept_blocks.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/run.h"

namespace lrqat::train {
namespace {

using start::take_layer;

void restore_tensors(const Run& run, const methods::Method& method, model::Decoder& decoder,
                     std::map<std::string, at::Tensor>& tensors) {
  for (nn::Linear* linear : decoder.linears()) {
    const methods::SavedLayer saved{linear->name(), linear->in_features(),
                                    take_layer(tensors, linear->name(), decoder.device())};
    if (auto weight = restore_layer(method, run.recipe(), saved)) linear->set_weight(std::move(weight));
  }
  model::take_ranges(decoder, tensors, run.path().string());
  for (const auto& [name, tensor] : tensors) {  // norms, embedding, head
    if (!decoder.replace(name, tensor.to(decoder.device())))
      fail(run.path().string(), ": tensor ", quote(name), " belongs to nothing in this model");
  }
}

// Of a run that has measured nothing since its start, the start is no choice: its last checkpoint is what was
// trained.
bool is_best_chosen(const Run& run) {
  if (!run.checkpoints().any() || !run.checkpoints().has_best()) return false;
  const std::int64_t step = run.checkpoints().last_state().step, every = run.recipe().eval_every;
  return step == run.recipe().steps || (every > 0 && step >= every);
}

model::OpenedModel open_run(const std::filesystem::path& path, const model::LoadOptions& options) {
  const Run run = Run::open(path);
  const std::filesystem::path base = base_model(path);
  model::SharedSource source =
      model::rotate(model::open_source(run.recipe().model), run.recipe().rotations, run.recipe().seed);
  auto decoder = model::load_float_model(source, options);
  SilentProgress silent;
  const bool trains = method_of(run.recipe()).trains;
  restore_student(run, *decoder, source, trains && is_best_chosen(run), silent);
  model::OpenedModel opened{"run", path, std::move(decoder), std::move(source), base};
  opened.unfinished = unfinished(run);
  opened.other_inputs = corpus::entry_paths(run.recipe().data);
  for (const std::string& file : {run.recipe().eval_data, run.recipe().teacher, run.recipe().teacher_cache})
    if (!file.empty()) opened.other_inputs.emplace_back(file);
  return opened;
}

// What convert would write: integers where the run has them, values elsewhere.
model::SharedSource open_run_source(const std::filesystem::path& path) {
  model::OpenedModel run = open_run(path, {});
  for (nn::Linear* linear : run.decoder->linears()) {
    if (linear->weight()->is_quantized())
      linear->set_weight(std::make_shared<quant::IntegerWeight>(linear->name(), linear->weight()->convert()));
  }
  return model::source_of(run.source->path(), std::move(run.decoder));
}

}  // namespace

void restore_student(const Run& run, model::Decoder& decoder, const model::SharedSource& source, bool best,
                     ProgressReporter& progress) {
  check_model(run.path(), run.record(), model::unrotated(*source));
  const methods::Method& method = method_of(run.recipe());
  if (run.is_starting()) {
    fail(run.path().string(),
         ": the run is still being prepared; continue it with `lrqat train --resume --out ",
         run.path().string(), "`");
  }
  decoder.set_activations(run.recipe().activations);
  // Runs of version 1 kept no integers where the model alone gives them.
  if (!method.trains && !std::filesystem::exists(run.path() / "prepared.safetensors")) {
    start::start_linears({method, plan_of(run.recipe())}, decoder, *source, progress);
    return;
  }
  if (method.trains && !run.checkpoints().any()) {
    fail(run.path().string(),
         ": the run has no checkpoint yet; continue it with `lrqat train --resume --out ",
         run.path().string(), "`");
  }
  std::map<std::string, at::Tensor> tensors;
  if (method.trains) tensors = run.checkpoints().load_trainables(best);
  tensors.merge(run.load_prepared());  // what was trained stays
  try {
    restore_tensors(run, method, decoder, tensors);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {  // parametrisations take it for a bug where tensors do not fit
    if (is_out_of_memory(error)) throw;
    fail(run.path().string(),
         ": the tensors of prepared.safetensors and of the checkpoint do not fit the recipe and each other; "
         "put copies of the files back, or start a new run");
  }
}

void take_frozen(const Run& run, model::Decoder& decoder) {
  const methods::Method& method = method_of(run.recipe());
  auto tensors = run.load_prepared();
  for (nn::Linear* linear : decoder.linears()) {
    methods::SavedLayer saved{linear->name(), linear->in_features(),
                              take_layer(tensors, linear->name(), decoder.device())};
    for (const quant::Parameter& parameter : linear->weight()->parameters())
      saved.tensors.emplace(parameter.name, parameter.value.detach().clone());
    if (auto weight = restore_layer(method, run.recipe(), saved)) linear->set_weight(std::move(weight));
  }
  release_free_memory();
}

std::string unfinished(const Run& run) {
  const std::int64_t steps = run.recipe().steps;
  if (!method_of(run.recipe()).trains) return {};
  const std::int64_t step = run.checkpoints().last_state().step;
  if (step == steps) return {};
  const std::string path = run.path().string();
  return concat(path, " is unfinished, at step ", step, " of ", steps, "; `lrqat train --resume --out ", path,
                "` continues it");
}

std::filesystem::path base_model(const std::filesystem::path& model) {
  constexpr int kMostRuns = 100;
  std::filesystem::path path = model;
  for (int runs = 0; Run::is_run(path); ++runs) {
    if (runs == kMostRuns) fail(model.string(), ": the run's model is, by way of other runs, the run itself");
    path = Run::open(path).recipe().model;
  }
  return path;
}

void register_run_opener() {
  model::add_model_opener({"run", Run::is_run, open_run});
  model::add_source_opener({Run::is_run, open_run_source});
}

}  // namespace lrqat::train
