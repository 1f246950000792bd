#include "lrqat/train/open_inputs.h"

#include <cmath>
#include <vector>

#include "lrqat/base/cpu.h"
#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/corpus/documents.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/load.h"
#include "lrqat/model/tokenizer_files.h"
#include "lrqat/train/cached_teacher.h"
#include "lrqat/train/fit_bits.h"
#include "lrqat/train/fit_to_model.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/run.h"
#include "lrqat/train/teacher.h"
#include "lrqat/train/train_step.h"

namespace lrqat::train {
namespace {

// The type of the products is part of a run: another machine keeps it, whatever is fast there.
void decide_compute(Recipe& recipe, bool decided, ProgressReporter& progress) {
  const bool open = recipe.compute_dtype == "auto";
  recipe.compute_dtype = recipe.compute() == ops::ComputeType::bfloat16 ? "bfloat16" : "float32";
  if (decided && open) {  // of version 1
    progress.message("the run does not say whether it multiplied in float32 or bfloat16; it goes on in " +
                     recipe.compute_dtype);
  } else if (recipe.compute_dtype == "bfloat16" && !has_fast_bfloat16()) {
    progress.message(concat("bfloat16 products are emulated on this processor, which is slow",
                            decided ? "; the run keeps the type that it began with"
                                    : ": `compute-dtype` float32 is faster here"));
  }
}

std::optional<PackedDataset> open_evaluation(const Recipe& recipe, const text::Tokenizer& tokenizer,
                                             ProgressReporter& progress) {
  if (recipe.eval_data.empty()) return std::nullopt;
  const corpus::ReadOptions options{.format = recipe.eval_data_format, .setting = "eval-data-format"};
  auto text =
      PackedDataset::for_evaluation(recipe.eval_data, tokenizer, recipe.eval_context, options, progress);
  std::vector<std::int64_t> first;  // windows within a prompt tell nothing
  for (std::int64_t i = 0; i < text.size(); ++i) {
    const bool enough = recipe.eval_windows > 0 && std::ssize(first) == recipe.eval_windows;
    if (!enough && text.scored(i) > 0) first.push_back(i);
  }
  return text.subset(first);
}

// The text that training, calibration and the choice of widths read.
void open_text(TrainInputs& inputs, const text::Tokenizer& tokenizer, ProgressReporter& progress) {
  const Recipe& recipe = inputs.recipe;
  auto all = PackedDataset::from_files(recipe.data, tokenizer, recipe.sequence_length,
                                       {.format = recipe.data_format}, progress);
  inputs.text_fingerprint = all.fingerprint();
  inputs.text = split(std::move(all), recipe.held_out, progress);
}

// Where a width is chosen for each linear, that comes before all that depends on widths.
void choose_bits(TrainInputs& inputs, ProgressReporter& progress) {
  Recipe& recipe = inputs.recipe;
  if (recipe.data.empty()) {
    throw UsageError(
        "`target-bpw` chooses bits by what errors cost on `data`, which is missing: one or more "
        "text files");
  }
  check_overrides(recipe, *inputs.decoder);
  fit_windows(recipe, inputs.decoder->config());
  open_text(inputs, model::load_model_tokenizer(base_model(recipe.model)), progress);
  fit_bits(recipe, *inputs.decoder, inputs.text->training, progress);
}

}  // namespace

TrainInputs open_inputs(const Recipe& given, bool decided, ProgressReporter& progress) {
  TrainInputs inputs;
  inputs.recipe = given;
  inputs.source = model::rotate(model::open_source(given.model), given.rotations, given.seed);
  Recipe& recipe = inputs.recipe;
  inputs.decoder = model::load_float_model(inputs.source);
  const model::Decoder& decoder = *inputs.decoder;
  const bool chooses = !decided && recipe.target_bpw > 0.0 && method_of(recipe).has_grid;
  if (chooses) choose_bits(inputs, progress);
  if (!decided) recipe = fit_to_model(recipe, decoder, progress);
  check_fits_model(recipe, decoder);
  decide_compute(recipe, decided, progress);
  inputs.decoder->set_compute(recipe.compute());
  if (Run::is_run(recipe.model)) {
    const std::string note = unfinished(Run::open(recipe.model));
    if (!note.empty()) progress.message("`model` " + note);
  }
  const bool trains = method_of(recipe).trains;
  inputs.teacher = open_teacher(recipe, inputs.source);
  check_teacher_cache(recipe, decoder.config());
  if (trains) check_teacher(recipe, decoder, *model::unrotated(inputs.source), *inputs.teacher);
  const bool reads_text = !recipe.data.empty() && (trains || needs_calibration(recipe));
  if (!recipe.data.empty() && !reads_text)
    progress.message(concat("`method` ", recipe.method, " trains nothing: `data` is not read"));
  if (recipe.eval_data.empty() && !reads_text) return inputs;
  const text::Tokenizer tokenizer = model::load_model_tokenizer(base_model(recipe.model));
  inputs.evaluation = open_evaluation(recipe, tokenizer, progress);
  if (reads_text && !inputs.text) open_text(inputs, tokenizer, progress);
  return inputs;
}

void check_memory(const Recipe& recipe, model::Decoder& decoder) {
  decoder.set_activations(recipe.activations);  // what a block keeps depends on them
  const double needed = activation_bytes(recipe, decoder, kept_activations(recipe, decoder));
  decoder.set_activations({});
  const auto available = static_cast<double>(available_memory_bytes());
  if (available <= 0 || needed <= available) return;
  const auto gigabytes = [](double bytes) { return std::ceil(bytes / 1e8) / 10; };
  fail("`batch-size` ", recipe.batch_size, " of `sequence-length` ", recipe.sequence_length, " needs about ",
       gigabytes(needed), " GB for activations, ", gigabytes(available),
       " GB are free: a smaller `batch-size` with more `gradient-accumulation` trains the same",
       recipe.checkpointing == Checkpointing::none ? ", `checkpointing` auto keeps less" : "");
}

}  // namespace lrqat::train
