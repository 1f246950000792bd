#include "lrqat/train/quality.h"

#include <cmath>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/methods/rtn.h"
#include "lrqat/model/open.h"
#include "lrqat/start/inits.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/teacher.h"
#include "lrqat/train/train_step.h"

namespace lrqat::train {
namespace {

struct Figures {
  double perplexity, kl;
  std::int64_t tokens;
};

Figures figures_of(const std::string& name, const model::Decoder& model, const model::Decoder* reference,
                   const PackedDataset& text, ProgressReporter& progress) {
  const TrainStep step(model, reference, {.distill_weight = reference != nullptr ? 1.0 : 0.0});
  progress.start("measuring " + name, text.size());
  const nn::LossSums sums = step.measure(text, progress);
  progress.finish();
  const auto tokens = static_cast<double>(sums.tokens);
  const double nll = sums.cross_entropy / tokens, kl = sums.divergence / tokens;
  if (!std::isfinite(nll) || !std::isfinite(kl)) {
    fail("the ", name, " model gives values that are not finite (cross-entropy ", nll, ", KL ", kl,
         " a token), so its quality cannot be measured");
  }
  return {std::exp(nll), kl, sums.tokens};
}

}  // namespace

std::unique_ptr<model::Decoder> rounded_model(const Run& run, const model::OpenedModel& trained,
                                              const model::LoadOptions& load) {
  auto decoder = model::load_float_model(trained.source, load);
  const methods::Method rounding = methods::rtn_method();
  const start::PlanOf plan = [&, of = plan_of(run.recipe())](const std::string& linear) {
    auto own = of(linear);  // starts that rounding does not have are no part of the baseline
    if (own && (start::needs_text(own->init) || !start::takes(rounding, own->init))) own->init = "range";
    return own;
  };
  SilentProgress silent;
  start::start_linears({rounding, plan}, *decoder, *trained.source, silent);
  decoder->share_activations(*trained.decoder);
  return decoder;
}

Quality measure_quality(const Run& run, const PackedDataset& text, at::Device device,
                        ProgressReporter& progress) {
  const Recipe& recipe = run.recipe();
  const model::LoadOptions load{recipe.compute(), device};
  const model::OpenedModel trained = model::open_model(run.path(), load);
  const auto reference = model::load_float_model(open_teacher(recipe, trained.source), load);
  const Figures of_reference = figures_of("float", *reference, nullptr, text, progress);
  const Figures of_trained = figures_of("trained", *trained.decoder, reference.get(), text, progress);
  const auto plain = rounded_model(run, trained, load);
  const Figures of_rounded = figures_of("rounded", *plain, reference.get(), text, progress);
  return {of_reference.perplexity, of_rounded.perplexity, of_rounded.kl,
          of_trained.perplexity,   of_trained.kl,         of_reference.tokens};
}

}  // namespace lrqat::train
