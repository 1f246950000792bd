// The table of recipe fields.
#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/base/numbers.h"
#include "lrqat/base/user_text.h"
#include "lrqat/corpus/documents.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/recipe_field_kinds.h"
#include "lrqat/train/target.h"

namespace lrqat::train {
namespace {

at::ScalarType parse_weight_dtype(const std::string& text) {
  if (text == "bfloat16") return at::kBFloat16;
  if (text == "float16") return at::kHalf;
  if (text == "float32") return at::kFloat;
  fail_value("weight-dtype", text, "bfloat16, float16 or float32");
}

std::string weight_dtype_name(at::ScalarType type) {
  return type == at::kBFloat16 ? "bfloat16" : type == at::kHalf ? "float16" : "float32";
}

Checkpointing parse_checkpointing(const std::string& text) {
  if (text == "none") return Checkpointing::none;
  if (text == "block") return Checkpointing::block;
  if (text == "auto") return Checkpointing::automatic;
  fail_value("checkpointing", text, "none, block or auto");
}

std::string checkpointing_name(Checkpointing value) {
  return value == Checkpointing::none ? "none" : value == Checkpointing::block ? "block" : "auto";
}

std::optional<quant::Granularity> parse_granularity(const std::string& text) {
  if (text == "auto") return std::nullopt;
  return quant::Granularity::parse(text);
}

std::string granularity_name(const std::optional<quant::Granularity>& value) {
  return value ? value->name() : "auto";
}

RecipeField format_field(const std::string& name, std::string Recipe::*member, const std::string& of) {
  std::string known;
  for (const std::string& format : corpus::data_formats())
    known.append(known.empty() ? "" : ", ").append(format);
  return word_field(
      name, member,
      [=](const std::string& text) {
        corpus::check_data_format(text, name);
        return text;
      },
      [](const std::string& text) { return text; },
      "what " + of + " holds, where more than one layout could be read: " + known);
}

std::vector<RecipeField> input_fields() {
  return {
      text_field("model", &Recipe::model, "the float model: a Hugging Face folder or a GGUF file"),
      {"data",
       "training text: files, folders or quoted patterns, each with =WEIGHT behind it if wanted; text "
       "(documents "
       "end at a line <|endoftext|>) or JSON rows (text, messages, conversations, prompt and completion, "
       "Alpaca, "
       "Dolly), also as .gz, .xz, .zst",
       true, true, [](const Recipe& r) { return r.data; }, [](Recipe& r, const Values& v) { r.data = v; }},
      format_field("data-format", &Recipe::data_format, "`data`"),
      text_field("eval-data", &Recipe::eval_data,
                 "text to report on (instructions: answers only); it decides nothing"),
      format_field("eval-data-format", &Recipe::eval_data_format, "`eval-data`"),
      text_field(
          "teacher", &Recipe::teacher,
          "the model to distill from and to compare with: a Hugging Face folder or a GGUF file of the same "
          "vocabulary (none: the model itself, before training)"),
      text_field("teacher-cache", &Recipe::teacher_cache,
                 "a folder for the teacher's logits of what is trained on: made where they are missing, used "
                 "by every run that has the same teacher; the teacher is then not in memory while training"),
      integer_field(
          "teacher-top-k", &Recipe::teacher_top_k, 0,
          "logits of each token that `teacher-cache` keeps, the largest; of all others their sum (0: "
          "all logits, exact)"),
      real_field("held-out", &Recipe::held_out, 0.0, 0.5,
                 "share of the data that is not trained on, at most 8192 tokens: one half chooses the best "
                 "checkpoint, the other is reported on where there is no `eval-data` (0: none)"),
  };
}

std::vector<RecipeField> method_fields() {
  return {
      word_field(
          "method", &Recipe::method, parse_method, [](const std::string& m) { return m; },
          "how Ŵ is made: " + methods::known_methods()),
      {"bits", "bits a weight: 2, 3, 4 or 8", false, false,
       [](const Recipe& r) { return Values{std::to_string(r.bits)}; },
       [](Recipe& r, const Values& v) {
         r.bits =
             quant::Grid::signed_symmetric(static_cast<int>(parse_integer("bits", v.at(0), 2, 8))).num_bits;
       }},
      real_field("target-bpw", &Recipe::target_bpw, 0.0, 64.0,
                 "most bits a weight that the linears may take in the file of `for`, scales included: each "
                 "linear gets 2, 3, 4 or 8 bits by what its error costs on `data` (0: all have `bits`)"),
      word_field(
          "for", &Recipe::target, parse_target, [](const std::string& t) { return t; },
          "what the integers are for, which decides granularity auto: " + known_targets()),
      word_field("granularity", &Recipe::granularity, parse_granularity, granularity_name,
                 "weights that share a scale: tensor, channel, group:SIZE or auto (what suits `for`, or what "
                 "the model's integers have)"),
      word_field("phi", &Recipe::phi, quant::parse_downcast, quant::downcast_name,
                 "how the frozen term is stored: float32, bfloat16, float16, fixed_point8, int4 or integer"),
      integer_field("rank", &Recipe::rank, 1, "rank of the adapters"),
      optional_real_field("lora-alpha", &Recipe::lora_alpha, 0.0, 1e6,
                          "adapters are scaled by lora-alpha / rank; auto: by 1"),
      word_field(
          "range", &Recipe::range, quant::RangeEstimator::parse,
          [](const quant::RangeEstimator& e) { return e.name(); },
          "first scale: minmax, mse, lp:P, l4q or lsq+"),
      word_field("scale-domain", &Recipe::scale_domain, quant::parse_scale_domain, quant::scale_domain_name,
                 "scales are learned in the linear or the log domain"),
      word_field("scale-type", &Recipe::scale_type, quant::parse_scale_type, quant::scale_type_name,
                 "scales are rounded to what the export stores: float16, bfloat16 or float32"),
      switch_field("learn-scale", &Recipe::learn_scale, "true: scales are trained"),
      switch_field("symmetric", &Recipe::symmetric,
                   "false: grids with zero points (l4q: with a float offset)"),
  };
}

// Of some methods only.
std::vector<RecipeField> special_fields() {
  return {
      word_field(
          "init", &Recipe::init, start::parse_init, [](const std::string& text) { return text; },
          "where training starts: " + start::init_help()),
      word_field(
          "rotations", &Recipe::rotations, model::parse_rotations, model::rotations_name,
          "Hadamard rotations of the model, before everything else: none, absorbed (r1,r2: into the weights, "
          "for every export), all, or some of r1,r2,r3,r4 (r3,r4: in the forward pass, for low bits of "
          "activations and KV cache)"),
      integer_field("svd-steps", &Recipe::svd_steps, 1, "lr-qat, qlora: LoftQ iterations of `init` svd",
                    100'000),
      integer_field(
          "calibration-tokens", &Recipe::calibration_tokens, 1,
          "tokens of the training data that `init` gptq, awq and blockwise look at, `target-bpw` at "
          "4096 of them"),
      real_field("gptq-damping", &Recipe::gptq_damping, 0.0, INFINITY,
                 "added to the Hessian's diagonal, as a share of its mean"),
      switch_field("gptq-act-order", &Recipe::gptq_act_order,
                   "true: input channels in the order of falling activation, false: as they are"),
      integer_field("block-steps", &Recipe::block_steps, 1, "steps of `init` blockwise on each block"),
      integer_field("block-batch-size", &Recipe::block_batch_size, 1,
                    "sequences of calibration text a step of `init` blockwise"),
      real_field("block-lr", &Recipe::block_lr, 0.0, INFINITY,
                 "first step of roundings in `init` blockwise, times 1 / block-steps, or 1 / 50 of fewer"),
      real_field("block-range-lr", &Recipe::block_range_lr, 0.0, INFINITY,
                 "first step of ranges in `init` blockwise, times 1 / block-steps, or 1 / 50 of fewer"),
      switch_field("faithful-downcast", &Recipe::faithful_downcast,
                   "lr-qat: true: the start equals rounding to nearest, code by code"),
      word_field("weight-dtype", &Recipe::weight_dtype, parse_weight_dtype, weight_dtype_name,
                 "l4q, lora: how the frozen weight is kept: bfloat16, float16 or float32"),
      switch_field("learn-offset", &Recipe::learn_offset,
                   "l4q: true: the offset b is trained, which no integer format holds"),
      switch_field("gradient-scaling", &Recipe::gradient_scaling,
                   "l4q, lsq: true: gradients of scales times 1 / sqrt(weights a scale * quant_max)"),
      {"overrides",
       "of single linears: \"PATTERN key=value …\" or \"PATTERN skip\", as \"*.down_proj bits=8\"", true,
       true, [](const Recipe& r) { return r.overrides; },
       [](Recipe& r, const Values& v) {
         for (const std::string& text : v) check_override(text);
         r.overrides = v;
       }},
  };
}

RecipeField bits_field(const std::string& name, int quant::ActivationOptions::*member,
                       const std::string& help) {
  return {name,
          help,
          false,
          false,
          [=](const Recipe& r) { return Values{std::to_string(r.activations.*member)}; },
          [=](Recipe& r, const Values& v) {
            r.activations.*member =
                quant::check_activation_bits(name, static_cast<int>(parse_integer(name, v.at(0), 4, 16)));
          }};
}

RecipeField down_bits_field() {
  return {"down-activation-bits",
          "down_proj's input, the one that suffers most: 4, 8, 16 or auto (as `activation-bits`)",
          false,
          true,
          [](const Recipe& r) {
            const int bits = r.activations.down_bits;
            return Values{bits == 0 ? "auto" : std::to_string(bits)};
          },
          [](Recipe& r, const Values& v) {
            const std::string name = "down-activation-bits";
            const std::int64_t bits = v.at(0) == "auto" ? 0 : parse_integer(name, v.at(0), 4, 16);
            if (bits != 0) quant::check_activation_bits(name, static_cast<int>(bits));
            r.activations.down_bits = static_cast<std::int8_t>(bits);
          }};
}

std::vector<RecipeField> activation_fields() {
  return {
      bits_field("activation-bits", &quant::ActivationOptions::activation_bits,
                 "inputs of linears: 4, 8 or 16 (not quantized)"),
      down_bits_field(),
      bits_field("kv-bits", &quant::ActivationOptions::kv_bits,
                 "keys and values as a cache holds them: 4, 8 or 16 (not quantized)"),
      {"activation-range",
       "ranges of activations: dynamic (each token's own) or static (observed before training)", false, true,
       [](const Recipe& r) { return Values{quant::activation_range_name(r.activations.range)}; },
       [](Recipe& r, const Values& v) { r.activations.range = quant::parse_activation_range(v.at(0)); }},
      switch_of(
          "learn-activation-range", [](auto& r) -> auto& { return r.activations.learn_range; },
          "true: static ranges are trained, at `scale-lr`"),
      integer_field("activation-batches", &Recipe::activation_batches, 1,
                    "static ranges: batches of the data that they are observed on"),
  };
}

std::vector<RecipeField> training_fields() {
  return {
      integer_field("steps", &Recipe::steps, 0, "optimiser steps"),
      integer_field("batch-size", &Recipe::batch_size, 1, "sequences a micro-batch"),
      fitted_size_field("sequence-length", &Recipe::sequence_length, 2,
                        "tokens a sequence (0: 512, or what the model has positions for)"),
      integer_field("gradient-accumulation", &Recipe::gradient_accumulation, 1, "micro-batches a step"),
      real_field("lr", &Recipe::lr, 0.0, INFINITY, "learning rate of the adapters"),
      real_field("scale-lr", &Recipe::scale_lr, 0.0, INFINITY,
                 "learning rate of the scales (in the log domain those of 8 bits take a sixteenth of it)"),
      switch_field("train-norms", &Recipe::train_norms, "true: the norms are trained too"),
      switch_field("train-head", &Recipe::train_head,
                   "true: the head is trained too (a tied one with the embedding)"),
      switch_field("train-embeddings", &Recipe::train_embeddings,
                   "true: the token embedding is trained too (a tied one with the head)"),
      real_field("float-lr", &Recipe::float_lr, 0.0, INFINITY,
                 "learning rate of norms, head and embedding, where they are trained"),
      real_field("weight-decay", &Recipe::weight_decay, 0.0, INFINITY, "AdamW's, on the adapters"),
      real_field("beta1", &Recipe::beta1, 0.0, 1.0, "AdamW's first moment"),
      real_field("beta2", &Recipe::beta2, 0.0, 1.0, "AdamW's second moment"),
      word_field("schedule", &Recipe::schedule, parse_schedule, schedule_name, "constant, linear or cosine"),
      real_field("warmup", &Recipe::warmup, 0.0, static_cast<double>(kMostCount),
                 "warm-up: a share of the steps below 1, else steps"),
      real_field("clip-norm", &Recipe::clip_norm, 0.0, INFINITY, "largest gradient norm (0: no clipping)"),
      switch_field("clip-together", &Recipe::clip_together,
                   "true: one norm over all gradients; false: adapters, scales and floats each by their own"),
      optional_real_field(
          "distill-weight", &Recipe::distill_weight, 0.0, 1.0,
          "w of the loss w·KL(float model) + (1-w)·cross-entropy; auto: 1, or 0 where the model "
          "is no teacher (lora, qlora, integers that training starts from)"),
      real_field("distill-temperature", &Recipe::distill_temperature, 1e-3, 1e3,
                 "T of softmax(logits / T) in the KL, which is multiplied by T²"),
  };
}

std::vector<RecipeField> running_fields() {
  return {
      word_field(
          "checkpointing", &Recipe::checkpointing, parse_checkpointing, checkpointing_name,
          "blocks whose activations are recomputed in backward: none, block (all) or auto (by memory)"),
      switch_field("map-frozen", &Recipe::map_frozen,
                   "true: frozen weights are pages of the run's folder, shared by processes, not copied"),
      {"memory-budget",
       "memory for activations that `checkpointing` auto keeps, and for hidden states of calibration text, "
       "which go to disk beyond it, as 4GB (0: half of what is free)",
       false, true, [](const Recipe& r) { return Values{std::to_string(r.memory_budget)}; },
       [](Recipe& r, const Values& v) { r.memory_budget = parse_bytes("memory-budget", v.at(0)); }},
      word_field(
          "compute-dtype", &Recipe::compute_dtype,
          [](const std::string& text) {
            if (text == "auto" || text == "float32" || text == "bfloat16") return text;
            fail_value("compute-dtype", text, "auto, float32 or bfloat16");
          },
          [](const std::string& text) { return text; },
          "type of the matrix products: auto (bfloat16 where it is fast), float32 or bfloat16"),
      integer_field("eval-every", &Recipe::eval_every, 0, "steps between evaluations (0: at the end)"),
      fitted_size_field("eval-context", &Recipe::eval_context, 2,
                        "tokens a window of the evaluation (0: 512, or what the model has positions for)"),
      integer_field("eval-windows", &Recipe::eval_windows, 0, "windows of the evaluation (0: all)"),
      integer_field("save-every", &Recipe::save_every, 0,
                    "steps between checkpoints (0: by time and with evaluations)"),
      real_field("save-minutes", &Recipe::save_minutes, 0.0, INFINITY,
                 "minutes from one checkpoint to the next, whatever `save-every` says (0: not by time)"),
      {"seed", "seed of everything random", false, false,
       [](const Recipe& r) { return Values{std::to_string(r.seed)}; },
       [](Recipe& r, const Values& v) { r.seed = parse_unsigned("seed", v.at(0)); }},
  };
}

std::vector<RecipeField> make_fields() {
  std::vector<RecipeField> all;
  for (const auto& part : {input_fields(), method_fields(), special_fields(), activation_fields(),
                           training_fields(), running_fields()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace

std::span<const RecipeField> recipe_fields() {
  static const std::vector<RecipeField> fields = make_fields();
  return fields;
}

}  // namespace lrqat::train
