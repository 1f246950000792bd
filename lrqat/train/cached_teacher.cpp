#include "lrqat/train/cached_teacher.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <system_error>

#include "lrqat/base/error.h"
#include "lrqat/base/sha256.h"
#include "lrqat/model/load.h"
#include "lrqat/train/fingerprint.h"
#include "lrqat/train/sampler.h"

namespace lrqat::train {
namespace {

std::string megabytes(std::int64_t bytes) {
  return concat(std::llround(static_cast<double>(bytes) / 1e6), " MB");
}

CacheSettings without_teacher(const Recipe& recipe, const formats::ModelConfig& config) {
  return {.teacher = {},
          .compute = recipe.compute_dtype,
          .sequence_length = recipe.sequence_length,
          .vocabulary = config.vocab_size,
          .top_k = recipe.teacher_top_k == 0 ? config.vocab_size : recipe.teacher_top_k,
          .temperature = recipe.distill_temperature};
}

at::Tensor sequence(const PackedDataset& text, std::int64_t index) { return text.batch({&index, 1})[0]; }

// Each once, though the text may hold it twice. What is there is checked now, before training begins.
std::vector<at::Tensor> missing_sequences(const TeacherCache& cache, const Recipe& recipe,
                                          const DataSplit& text) {
  const NeededSequences needed = needed_sequences(recipe, text);
  std::vector<at::Tensor> missing;
  std::set<std::string> seen;
  const auto look = [&](const PackedDataset& part, const std::vector<std::int64_t>& indices) {
    for (const std::int64_t index : indices) {
      at::Tensor tokens = sequence(part, index);
      std::string key = sequence_key(tokens);
      if (cache.has(key)) {
        cache.check(key);
      } else if (seen.insert(std::move(key)).second) {
        missing.push_back(std::move(tokens));
      }
    }
  };
  look(text.training, needed.training);
  if (text.choosing) look(*text.choosing, needed.choosing);
  return missing;
}

void check_space(const TeacherCache& cache, std::int64_t needed) {
  std::error_code unknown;
  std::filesystem::path at = cache.folder();
  while (!std::filesystem::exists(at, unknown) && at.has_relative_path()) at = at.parent_path();
  const auto space = std::filesystem::space(at, unknown);
  if (unknown || static_cast<std::uintmax_t>(needed) <= space.available) return;
  fail("`teacher-cache` ", cache.folder().string(), " needs ", megabytes(needed), " of disk, ",
       megabytes(static_cast<std::int64_t>(space.available)),
       " are free: give a smaller `teacher-top-k`, fewer `steps` or another folder");
}

// Sequences that go through the teacher at once: as many as a micro-batch of training has, so that products
// have the same shapes; more of short ones, fewer where all logits of them would fill the memory.
std::int64_t rows_at_once(const Recipe& recipe, const CacheSettings& settings) {
  constexpr std::int64_t kTokens = 512, kBytes = std::int64_t{256} << 20;
  const std::int64_t rows = std::max(recipe.batch_size, kTokens / recipe.sequence_length);
  return std::clamp<std::int64_t>(kBytes / settings.bytes_per_sequence(), 1, rows);
}

nn::TeacherLogits logits_of(const model::Decoder& teacher, const at::Tensor& tokens,
                            const CacheSettings& settings) {
  const at::Tensor hidden = teacher.forward(tokens.to(teacher.device()));
  const at::Tensor predicting = hidden.narrow(1, 0, settings.predictions()).reshape({-1, hidden.size(2)});
  const nn::TeacherLogits found =
      nn::keep_logits(predicting, teacher.lm_head(), teacher.config().final_logit_softcapping, settings.top_k,
                      settings.temperature);
  const bool finite = at::isfinite(found.values).all().item<bool>() &&
                      (!found.rest.defined() || at::isfinite(found.rest).all().item<bool>());
  if (!finite) fail("the teacher gives logits that are not finite, which cannot be learned from");
  const auto here = [](const at::Tensor& x) { return x.defined() ? x.cpu() : x; };
  return {here(found.ids), here(found.values), here(found.rest)};
}

void fill(TeacherCache& cache, const std::vector<at::Tensor>& missing, const model::Decoder& teacher,
          std::int64_t rows, ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  const CacheSettings& settings = cache.settings();
  TeacherCacheWriter writer(cache);
  progress.start("teacher logits", std::ssize(missing));
  for (std::size_t begin = 0; begin < missing.size(); begin += static_cast<std::size_t>(rows)) {
    const std::size_t end = std::min(begin + static_cast<std::size_t>(rows), missing.size());
    const nn::TeacherLogits logits =
        logits_of(teacher, at::stack({missing.data() + begin, end - begin}), settings);
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t first = static_cast<std::int64_t>(i - begin) * settings.predictions();
      const auto own = [&](const at::Tensor& x) {
        return x.defined() ? x.narrow(0, first, settings.predictions()) : x;
      };
      writer.add(missing[i], {own(logits.ids), own(logits.values), own(logits.rest)});
    }
    progress.update(static_cast<std::int64_t>(end),
                    megabytes(static_cast<std::int64_t>(end) * settings.bytes_per_sequence()));
  }
  writer.save();
  progress.finish();
}

// The teacher is loaded here, and gone from memory at the end.
void make_missing(TeacherCache& cache, const std::vector<at::Tensor>& missing, const TrainInputs& inputs,
                  at::Device device, ProgressReporter& progress) {
  const CacheSettings& settings = cache.settings();
  const std::int64_t bytes = std::ssize(missing) * settings.bytes_per_sequence();
  check_space(cache, bytes);
  progress.message(concat("teacher-cache ", cache.folder().string(), ": the logits of ", missing.size(),
                          " sequences are missing; the teacher makes them once, ", megabytes(bytes), " (",
                          settings.bytes_per_sequence() / settings.sequence_length, " bytes a token, ",
                          settings.top_k, " of ", settings.vocabulary, " logits)"));
  const auto teacher = model::load_float_model(inputs.teacher, {inputs.recipe.compute(), device});
  fill(cache, missing, *teacher, rows_at_once(inputs.recipe, settings), progress);
  for (const std::string& name : inputs.teacher->names()) inputs.teacher->release(name);
}

}  // namespace

bool uses_teacher_cache(const Recipe& recipe) {
  return !recipe.teacher_cache.empty() && recipe.distill_weight.value_or(0.0) > 0.0;
}

void check_teacher_cache(const Recipe& recipe, const formats::ModelConfig& config) {
  if (!uses_teacher_cache(recipe) || recipe.teacher_top_k <= config.vocab_size) return;
  throw UsageError(concat("`teacher-top-k` ", recipe.teacher_top_k, ": the model has ", config.vocab_size,
                          " tokens in its vocabulary; give at most that, or 0 for all"));
}

CacheSettings cache_settings(const TrainInputs& inputs) {
  CacheSettings settings = without_teacher(inputs.recipe, inputs.teacher->config());
  const std::string is =
      model_fingerprint(*inputs.teacher) + formats::config_to_json(inputs.teacher->config()).dump();
  settings.teacher = sha256_hex(std::as_bytes(std::span(is)));
  return settings;
}

std::int64_t cached_bytes_per_sequence(const Recipe& recipe, const formats::ModelConfig& teacher) {
  return without_teacher(recipe, teacher).bytes_per_sequence();
}

NeededSequences needed_sequences(const Recipe& recipe, const DataSplit& text) {
  const std::int64_t size = text.training.size();
  const std::int64_t drawn = recipe.steps * recipe.gradient_accumulation * recipe.batch_size;
  NeededSequences needed;
  needed.training = Sampler(size, recipe.seed).next(std::min(drawn, size));
  if (std::find(needed.training.begin(), needed.training.end(), 0) == needed.training.end())
    needed.training.push_back(0);
  const std::int64_t choosing = text.choosing ? text.choosing->size() : 0;
  for (std::int64_t i = 0; i < choosing; ++i) needed.choosing.push_back(i);
  return needed;
}

std::unique_ptr<TeacherCache> open_teacher_cache(const TrainInputs& inputs, at::Device device,
                                                 ProgressReporter& progress) {
  const Recipe& recipe = inputs.recipe;
  if (!uses_teacher_cache(recipe)) {
    if (!recipe.teacher_cache.empty())
      progress.message("`teacher-cache` is not used: nothing is distilled (`distill-weight` 0)");
    return nullptr;
  }
  auto cache = std::make_unique<TeacherCache>(recipe.teacher_cache, cache_settings(inputs));
  if (const auto missing = missing_sequences(*cache, recipe, *inputs.text); !missing.empty()) {
    make_missing(*cache, missing, inputs, device, progress);
  } else {
    progress.message(concat("teacher-cache ", cache->folder().string(), ": all ",
                            needed_sequences(recipe, *inputs.text).size(),
                            " sequences of this run are there, the teacher is not loaded"));
  }
  return cache;
}

}  // namespace lrqat::train
