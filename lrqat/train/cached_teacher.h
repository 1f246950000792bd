// The teacher's logits that a run needs, from its recipe's `teacher-cache`: which sequences those are, and
// how the ones that are missing are made.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/train/open_inputs.h"
#include "lrqat/train/teacher_cache.h"

namespace lrqat::train {

// Whether the recipe distills from a cache.
bool uses_teacher_cache(const Recipe& recipe);

// What a cache for these inputs has to be. Reads every byte of the teacher's weights.
CacheSettings cache_settings(const TrainInputs& inputs);

// Sequences whose logits the run needs: what its steps draw, the first of the training text (by which
// checkpoints are checked), and the held-out ones that the best checkpoint is chosen by. Indices into each
// text.
struct NeededSequences {
  std::vector<std::int64_t> training, choosing;
  std::int64_t size() const { return std::ssize(training) + std::ssize(choosing); }
};
NeededSequences needed_sequences(const Recipe& recipe, const DataSplit& text);

// The recipe's cache with all that the run needs. What is missing is made by the teacher, which is loaded for
// that and not kept; inputs.text is there. Null: the recipe has no cache, or does not distill.
std::unique_ptr<TeacherCache> open_teacher_cache(const TrainInputs& inputs, at::Device device,
                                                 ProgressReporter& progress);

// Bytes that the recipe's cache takes for a sequence.
std::int64_t cached_bytes_per_sequence(const Recipe& recipe, const formats::ModelConfig& teacher);

// UsageError where the cache should keep more logits than the vocabulary has.
void check_teacher_cache(const Recipe& recipe, const formats::ModelConfig& config);

}  // namespace lrqat::train
