#include "lrqat/train/teacher.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/rotations.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"

namespace lrqat::train {
namespace {

// Adapters begin at zero, so a linear is what it was where it keeps its integers or stays float.
bool starts_unchanged(const Recipe& recipe, const nn::Linear& linear) {
  const methods::Method& method = method_of(recipe);
  return !method.has_grid || !layer_recipe(recipe, linear.name()) ||
         starts_from_stored(method, recipe, linear);
}

// Whatever files they lie in. A float teacher differs in the first tensor.
bool same_values(const formats::WeightSource& own, const formats::WeightSource& teacher) {
  const auto names = own.names();
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    if (!teacher.has(name) || own.shape(name) != teacher.shape(name)) return false;
    const bool same = at::equal(model::read_tensor(own, name), model::read_tensor(teacher, name));
    own.release(name);
    teacher.release(name);
    return same;
  });
}

}  // namespace

model::SharedSource open_teacher(const Recipe& recipe, const model::SharedSource& own) {
  if (recipe.teacher.empty()) return model::unrotated(own);  // which computes the same
  model::SharedSource teacher(model::open_source(recipe.teacher));
  const formats::ModelConfig &theirs = teacher->config(), &ours = own->config();
  if (theirs.vocab_size != ours.vocab_size) {
    fail("`teacher` ", recipe.teacher, " has a vocabulary of ", theirs.vocab_size, " tokens, ", recipe.model,
         " one of ", ours.vocab_size, ": give a teacher of the same vocabulary");
  }
  if (theirs.final_logit_softcapping != ours.final_logit_softcapping) {
    const auto cap = [](double value) { return value > 0 ? concat("at ", value) : std::string("not"); };
    fail("`teacher` ", recipe.teacher, " caps its logits ", cap(theirs.final_logit_softcapping), ", ",
         recipe.model, " ", cap(ours.final_logit_softcapping), ": give a teacher of the same family");
  }
  const bool teaches = recipe.distill_weight.value_or(0.0) > 0.0;
  if (teaches && recipe.sequence_length > theirs.max_position_embeddings) {
    throw UsageError(concat("`teacher` ", recipe.teacher, " has ", theirs.max_position_embeddings,
                            " positions (max_position_embeddings), fewer than `sequence-length` ",
                            recipe.sequence_length, ": give a smaller `sequence-length` or another teacher"));
  }
  if (!recipe.eval_data.empty() && recipe.eval_context > theirs.max_position_embeddings) {
    throw UsageError(concat("`teacher` ", recipe.teacher, " has ", theirs.max_position_embeddings,
                            " positions (max_position_embeddings), fewer than `eval-context` ",
                            recipe.eval_context, ": give a smaller `eval-context` or another teacher"));
  }
  return teacher;
}

void check_teacher(const Recipe& recipe, const model::Decoder& decoder, const formats::WeightSource& own,
                   const formats::WeightSource& teacher) {
  const bool only_distills = recipe.steps > 0 && recipe.distill_weight == 1.0;
  if (!only_distills || recipe.activations.any()) return;
  const auto linears = decoder.linears();
  const bool itself = std::all_of(linears.begin(), linears.end(), [&](const nn::Linear* linear) {
    return starts_unchanged(recipe, *linear);
  });
  if (!itself) return;
  if (&own != &teacher && !same_values(own, teacher)) return;
  fail(recipe.teacher.empty() ? "`distill-weight` 1 without `teacher`: the teacher would be "
                              : "`teacher` names the model that is trained: the teacher would be ",
       recipe.model, " itself, and the student starts as exactly that model (",
       method_of(recipe).has_grid ? "its linears keep their integers and scales" : "its weights stay float",
       "), so the loss is 0 and nothing is learned. Give the float model as `teacher`, or train on the text "
       "with `distill-weight` 0");
}

}  // namespace lrqat::train
