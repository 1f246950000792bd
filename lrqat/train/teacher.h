// Which model a run is distilled from and measured against: --teacher, or the model that is trained, before
// training.
#pragma once

#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// `own`: the model that is trained. Error where --teacher has another vocabulary, caps its
// logits otherwise, or has fewer positions than the recipe needs.
model::SharedSource open_teacher(const Recipe& recipe, const model::SharedSource& own);

// Error that names --teacher where distillation alone would train nothing, because the student starts as its
// own teacher. decoder: the model that is trained, with its own weights; own: what it and the teacher are
// read from, the same where --teacher names another copy of it.
void check_teacher(const Recipe& recipe, const model::Decoder& decoder, const formats::WeightSource& own,
                   const formats::WeightSource& teacher);

}  // namespace lrqat::train
