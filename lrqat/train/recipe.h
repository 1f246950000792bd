// A recipe: everything that decides a training run. One table of fields gives the command line's flags, the
// keys of a recipe file (`--config run.toml`) and the file that is saved with the run, so that all three say
// the same things.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lrqat/model/rotations.h"
#include "lrqat/nn/linear.h"
#include "lrqat/quant/activation_options.h"
#include "lrqat/quant/downcast.h"
#include "lrqat/quant/grid.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/train/schedule.h"

namespace lrqat::train {

enum class Checkpointing { none, block, automatic };

// Field names are the flags' names with '_' for '-'.
struct Recipe {
  std::string model;
  std::vector<std::string> data;     // files, folders, patterns, weights (corpus/data_files.h)
  std::string data_format = "auto";  // corpus::data_formats()
  std::string eval_data;             // is only reported on
  std::string eval_data_format = "auto";
  std::string teacher;  // distilled from and compared with; empty: the model itself, before training
  std::string
      teacher_cache;  // folder of its logits (teacher_cache.h); empty: the teacher runs beside the student
  std::int64_t teacher_top_k = 128;  // logits of a token that are kept there; 0: all
  double held_out = 0.02;            // share of the data that is not trained on (held_out.h)

  std::string method = "lr-qat";
  int bits = 4;
  double target_bpw = 0.0;      // most bits a weight of the linears, each with bits of its own; 0: `bits`
  std::string target = "gguf";  // `for`: the format that the integers will go into (target.h)
  std::optional<quant::Granularity> granularity;  // none: by target and model (fit_to_model.h)
  quant::Downcast phi = quant::Downcast::fixed_point8;
  std::int64_t rank = 32;
  std::optional<double> lora_alpha;  // γ = lora_alpha / rank; none: the rank, γ = 1
  quant::RangeEstimator range = quant::RangeEstimator::parse("lp:3.5");
  quant::ScaleDomain scale_domain = quant::ScaleDomain::linear;
  quant::ScaleType scale_type = quant::ScaleType::float16;
  bool learn_scale = true;
  bool symmetric = true;           // false: grids with zero points (l4q: a float offset)
  bool faithful_downcast = false;  // lr-qat: the start equals plain rounding, code by code
  std::string init = "auto";       // where training starts (recipe_fields.cpp)
  int svd_steps = 1;
  std::int64_t calibration_tokens = 32768;  // gptq, awq: of the training data
  double gptq_damping = 0.01;               // a share of the Hessian's mean diagonal
  bool gptq_act_order = true;
  std::int64_t block_steps = 100;  // blockwise: steps of a block
  std::int64_t block_batch_size = 1;
  double block_lr = 1.0;                        // of roundings, times 1 / block_steps
  double block_range_lr = 1.0;                  // of ranges, likewise
  at::ScalarType weight_dtype = at::kBFloat16;  // l4q, lora: how the frozen weight is kept
  bool learn_offset = false;                    // l4q: b is trained, which no integer format holds
  bool gradient_scaling = true;                 // l4q, lsq: LSQ's factor on the gradients of scales
  model::Rotations rotations;                   // of the model, before everything else
  std::vector<std::string> overrides;           // of single linears (layer_recipe.h)

  quant::ActivationOptions activations;
  std::int64_t activation_batches = 8;  // static ranges: batches of the data that they are observed on

  // A run of some minutes; the papers' long ones are in recipes/.
  std::int64_t steps = 60;
  std::int64_t batch_size = 2;
  std::int64_t sequence_length = 0;  // 0: by the model (fit_to_model.h)
  std::int64_t gradient_accumulation = 1;
  double lr = 1e-3;
  double scale_lr = 1e-5;
  bool train_norms = false;
  bool train_head = false;  // a tied head is the embedding: either trains both
  bool train_embeddings = false;
  double float_lr = 1e-5;  // of these three
  double weight_decay = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  ScheduleKind schedule = ScheduleKind::linear;
  double warmup = 0.0;  // below 1: share of the steps, else steps
  double clip_norm = 1.0;
  bool clip_together = false;  // one norm over adapters, scales and floats, as the papers' code has it
  std::optional<double> distill_weight;  // w of w·KL + (1 - w)·cross-entropy; none: by method and start
  double distill_temperature = 1.0;      // of the KL's softmaxes

  Checkpointing checkpointing = Checkpointing::automatic;
  bool map_frozen = false;             // Φ0 and other frozen weights are pages of the run's file
  std::int64_t memory_budget = 0;      // bytes for kept activations; 0: half of what the system has available
  std::string compute_dtype = "auto";  // auto | float32 | bfloat16

  std::int64_t eval_every = 0;     // 0: at the end only
  std::int64_t eval_context = 0;   // 0: by the model
  std::int64_t eval_windows = 32;  // 0: all
  std::int64_t save_every = 0;     // 0: by time, at evaluations and at the end
  double save_minutes = 5.0;       // since the last checkpoint; 0: not by time
  std::uint64_t seed = 0;

  double alpha() const { return lora_alpha.value_or(static_cast<double>(rank)); }  // lora_alpha as a number
  std::int64_t warmup_steps() const;
  const quant::Granularity& grid_granularity() const;  // of a recipe that was fitted to its model
  ops::ComputeType compute() const;                    // what "auto" means on this machine
  quant::ScaleOptions scale_options() const;
  quant::QuantSpec spec() const;  // of a recipe that was fitted to its model
};

struct RecipeField {
  std::string name;  // "gradient-accumulation": the flag without "--", the key of a recipe file
  std::string help;
  bool is_list = false;  // takes one or more values
  bool is_text = true;   // written with quotation marks in a recipe file
  std::function<std::vector<std::string>(const Recipe&)> print;
  std::function<void(Recipe&, const std::vector<std::string>&)> parse;  // UsageError naming the field
};

std::span<const RecipeField> recipe_fields();
const RecipeField& recipe_field(const std::string& name);  // UsageError that names the nearest fields

// UsageError where the fields do not fit together (no model, no data, no steps, …).
// needs_data false: the recipe is only looked at, not run.
void validate(const Recipe& recipe, bool needs_data = true);

// TOML: `key = value` a line with strings, numbers, booleans and one-line lists of strings, # comments
// (toml.h). Fields that the file does not name stay as they are. UsageError with file and line.
void read_recipe(const std::filesystem::path& path, Recipe& recipe);
std::string print_recipe(const Recipe& recipe);  // what read_recipe reads back

}  // namespace lrqat::train
