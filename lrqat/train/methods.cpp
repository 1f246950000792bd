#include "lrqat/train/methods.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/methods/l4q_weight.h"
#include "lrqat/methods/lora_weight.h"
#include "lrqat/methods/lr_qat_start.h"
#include "lrqat/methods/lsq_weight.h"
#include "lrqat/methods/peqa_weight.h"
#include "lrqat/model/prepare.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/low_rank_approximation.h"
#include "lrqat/quant/on_grid.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/scale_range.h"

namespace lrqat::train {
namespace {

using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

// Each layer starts from numbers of its own, whatever the order in which layers are prepared (FNV-1a).
std::uint64_t layer_seed(std::uint64_t seed, const std::string& layer) {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
  for (const char c : layer) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

// The recipe on the scales and zero points that a weight is quantized with already.
Recipe on_scales_of(const quant::QuantizedWeight& weight, Recipe recipe) {
  recipe.range = quant::RangeEstimator::of_stored(weight.scale, weight.zero_point);
  return recipe;
}

quant::Grid grid_of(const Recipe& recipe) { return quant::Grid::signed_symmetric(recipe.bits); }

// "scale" as a parameter or a buffer of the run.
quant::ScaleParameter scale_of(const quant::ScaleOptions& options, const SavedLayer& saved) {
  return quant::ScaleParameter::from_value(saved.at("scale"), options);
}

// --- lr-qat

double lr_qat_bytes(const Recipe& recipe) {
  switch (recipe.phi) {
    case quant::Downcast::float32:
      return 4;
    case quant::Downcast::bfloat16:
    case quant::Downcast::float16:
      return 2;
    case quant::Downcast::fixed_point8:
      return 1;
    case quant::Downcast::int4:
      return 0.5;
    case quant::Downcast::integer:
      return recipe.bits <= 4 ? 0.5 : 1;
  }
  return 4;
}

WeightPtr prepare_lr_qat(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  const methods::LrQatOptions options = recipe.lr_qat_options();
  const std::uint64_t seed = layer_seed(recipe.seed, layer);
  const methods::LrQatStart start{recipe.symmetric, recipe.faithful_downcast,
                                  recipe.init == "svd" ? recipe.svd_steps : 0};
  if (start.symmetric && !start.faithful && start.svd_steps == 0) {
    return methods::LrQatWeight::prepare(layer, weight, options, recipe.range, seed);
  }
  return methods::start_lr_qat(layer, weight, options, start, recipe.range, seed);
}

WeightPtr start_lr_qat(const Recipe& recipe, const std::string& layer, const quant::RoundedStart& start) {
  return methods::start_lr_qat(layer, start, recipe.lr_qat_options(), layer_seed(recipe.seed, layer));
}

// Older runs do not hold it.
std::optional<double> clipped_at_start(const SavedLayer& saved) {
  const auto found = saved.tensors.find("clipped_at_start");
  if (found == saved.tensors.end()) return std::nullopt;
  return found->second.item<double>();
}

WeightPtr restore_lr_qat(const Recipe& recipe, const SavedLayer& saved) {
  const methods::LrQatOptions options = recipe.lr_qat_options();
  return std::make_shared<methods::LrQatWeight>(
      options, quant::Phi0(saved.at("phi_0"), saved.in_features, options.downcast, options.grid, saved.name),
      scale_of(options.scale, saved), saved.at("lora_a"), saved.at("lora_b"),
      recipe.symmetric ? at::Tensor() : saved.at("zero_point"), clipped_at_start(saved));
}

// --- l4q

methods::L4qOptions l4q_options(const Recipe& recipe) {
  methods::L4qOptions options;
  options.grid = grid_of(recipe);
  options.granularity = recipe.grid_granularity();
  options.storage = recipe.weight_dtype;
  options.rank = recipe.rank;
  options.lora_alpha = recipe.alpha();
  options.scale = recipe.scale_options();
  options.learn_offset = recipe.learn_offset;
  options.asymmetric_start = !recipe.symmetric;
  options.gradient_scaling = recipe.gradient_scaling;
  return options;
}

WeightPtr prepare_l4q(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  return methods::L4qWeight::prepare(layer, weight, l4q_options(recipe), recipe.range,
                                     layer_seed(recipe.seed, layer));
}

WeightPtr start_l4q(const Recipe& recipe, const std::string& layer, const quant::RoundedStart& start) {
  return prepare_l4q(on_scales_of(start.rounded, recipe), layer,
                     quant::float_start(start, recipe.weight_dtype));
}

WeightPtr restore_l4q(const Recipe& recipe, const SavedLayer& saved) {
  const methods::L4qOptions options = l4q_options(recipe);
  const at::Tensor offset = options.learn_offset ? saved.at("offset") : at::Tensor();
  return std::make_shared<methods::L4qWeight>(options, saved.at("weight"), scale_of(options.scale, saved),
                                              offset, saved.at("lora_a"), saved.at("lora_b"));
}

double l4q_bytes(const Recipe& recipe) { return static_cast<double>(at::elementSize(recipe.weight_dtype)); }

// Rates of short runs here and below: docs/results.md, "Learning rates".
void l4q_defaults(Recipe& recipe) {
  recipe.lr = 2e-3;
  recipe.scale_lr = 1e-4;
  recipe.beta2 = 0.999;
}

// --- lsq

methods::LsqOptions lsq_options(const Recipe& recipe) {
  methods::LsqOptions options;
  options.grid = grid_of(recipe);
  options.granularity = recipe.grid_granularity();
  options.scale = recipe.scale_options();
  options.symmetric = recipe.symmetric;
  options.gradient_scaling = recipe.gradient_scaling;
  return options;
}

WeightPtr prepare_lsq(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  return methods::LsqWeight::prepare(layer, weight, lsq_options(recipe), recipe.range);
}

WeightPtr start_lsq(const Recipe& recipe, const std::string& layer, const quant::RoundedStart& start) {
  return prepare_lsq(on_scales_of(start.rounded, recipe), layer, quant::float_start(start, at::kFloat));
}

WeightPtr restore_lsq(const Recipe& recipe, const SavedLayer& saved) {
  const methods::LsqOptions options = lsq_options(recipe);
  const at::Tensor zero = options.symmetric ? at::Tensor() : saved.at("zero_float");
  return std::make_shared<methods::LsqWeight>(options, saved.at("weight"), scale_of(options.scale, saved),
                                              zero);
}

void lsq_defaults(Recipe& recipe) {
  recipe.lr = 5e-4;
  recipe.scale_lr = 1e-4;
}

// --- peqa

methods::PeqaOptions peqa_options(const Recipe& recipe) {
  return {grid_of(recipe), recipe.grid_granularity(), recipe.scale_options(), recipe.symmetric};
}

std::shared_ptr<methods::PeqaWeight> restore_codes(const methods::PeqaOptions& options,
                                                   const SavedLayer& saved) {
  const at::Tensor zero = options.symmetric ? at::Tensor() : saved.at("zero_point");
  return std::make_shared<methods::PeqaWeight>(
      options,
      quant::Phi0(saved.at("codes"), saved.in_features, quant::Downcast::integer, options.grid, saved.name),
      scale_of(options.scale, saved), zero, clipped_at_start(saved));
}

WeightPtr prepare_peqa(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  if (!recipe.learn_scale)
    throw UsageError("--method peqa trains the scales alone: --learn-scale must be true");
  return methods::PeqaWeight::prepare(layer, weight, peqa_options(recipe), recipe.range);
}

std::shared_ptr<methods::PeqaWeight> codes_of(const quant::RoundedStart& start,
                                              const methods::PeqaOptions& options) {
  const quant::QuantizedWeight& rounded = start.rounded;
  return std::make_shared<methods::PeqaWeight>(
      options, quant::Phi0::store(rounded.weight_int.to(at::kFloat), quant::Downcast::integer, options.grid),
      quant::ScaleParameter(rounded.scale, options.scale), rounded.zero_point, rounded.clipped_fraction);
}

WeightPtr start_peqa(const Recipe& recipe, const std::string&, const quant::RoundedStart& start) {
  return codes_of(start, peqa_options(recipe));
}

WeightPtr restore_peqa(const Recipe& recipe, const SavedLayer& saved) {
  return restore_codes(peqa_options(recipe), saved);
}

void peqa_defaults(Recipe& recipe) {
  recipe.scale_domain = quant::ScaleDomain::log;
  recipe.scale_lr = 3e-3;
}

double integer_bytes(const Recipe& recipe) { return recipe.bits <= 4 ? 0.5 : 1; }

// --- qlora and lora

methods::PeqaOptions frozen_base(const Recipe& recipe) {
  methods::PeqaOptions options = peqa_options(recipe);
  options.scale.learn = false;
  return options;
}

methods::LoraOptions lora_options(const Recipe& recipe) { return {recipe.rank, recipe.alpha()}; }

// LoftQ: integers and adapters that together start near to the weight.
WeightPtr prepare_loftq(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  const methods::PeqaOptions options = frozen_base(recipe);
  const auto prepare = [&](const at::Tensor& from) {
    return methods::PeqaWeight::prepare(layer, from, options, recipe.range);
  };
  const auto round = [&](const at::Tensor& from) { return quant::values_of(*prepare(from)); };
  if (recipe.alpha() <= 0.0) throw UsageError("--init svd needs a --lora-alpha above 0");
  const quant::ResidueStart start = quant::approximate_residue(
      weight, round, recipe.rank, recipe.alpha() / static_cast<double>(recipe.rank), recipe.svd_steps,
      layer_seed(recipe.seed, layer));
  return std::make_shared<methods::LoraWeight>(prepare(start.rounded_from), lora_options(recipe),
                                               start.factors.left.contiguous(),
                                               start.factors.right.contiguous());
}

WeightPtr prepare_qlora(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  if (recipe.init == "svd") return prepare_loftq(recipe, layer, weight);
  return methods::LoraWeight::around(
      methods::PeqaWeight::prepare(layer, weight, frozen_base(recipe), recipe.range), lora_options(recipe),
      layer_seed(recipe.seed, layer));
}

WeightPtr start_qlora(const Recipe& recipe, const std::string& layer, const quant::RoundedStart& start) {
  return methods::LoraWeight::around(codes_of(start, frozen_base(recipe)), lora_options(recipe),
                                     layer_seed(recipe.seed, layer));
}

WeightPtr restore_qlora(const Recipe& recipe, const SavedLayer& saved) {
  return std::make_shared<methods::LoraWeight>(restore_codes(frozen_base(recipe), saved),
                                               lora_options(recipe), saved.at("lora_a"), saved.at("lora_b"));
}

WeightPtr prepare_lora(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  quant::check_finite(layer, weight);
  return methods::LoraWeight::around(std::make_shared<quant::FloatWeight>(weight.to(recipe.weight_dtype)),
                                     lora_options(recipe), layer_seed(recipe.seed, layer));
}

WeightPtr restore_lora(const Recipe& recipe, const SavedLayer& saved) {
  return std::make_shared<methods::LoraWeight>(std::make_shared<quant::FloatWeight>(saved.at("weight")),
                                               lora_options(recipe), saved.at("lora_a"), saved.at("lora_b"));
}

// Adapters that stay in float are for fitting a text. In bfloat16 the sum of a weight and a small adapter is
// the weight.
void lora_defaults(Recipe& recipe) {
  recipe.lr = 2e-4;
  recipe.distill_weight = 0.0;
  recipe.compute_dtype = "float32";
}

// --- rtn

WeightPtr prepare_rtn(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  const auto round = recipe.symmetric ? quant::round_to_nearest : quant::round_to_nearest_asymmetric;
  return std::make_shared<quant::IntegerWeight>(
      layer,
      round(layer, weight, grid_of(recipe), recipe.grid_granularity(), recipe.range, recipe.scale_options()));
}

WeightPtr start_rtn(const Recipe&, const std::string& layer, const quant::RoundedStart& start) {
  return std::make_shared<quant::IntegerWeight>(layer, start.rounded);
}

// What prepare() makes again needs no file; integers from calibration text do.
WeightPtr restore_rtn(const Recipe& recipe, const SavedLayer& saved) {
  const quant::Grid grid = grid_of(recipe);
  const quant::Phi0 codes(saved.at("codes"), saved.in_features, quant::Downcast::integer, grid, saved.name);
  quant::QuantizedWeight weight{grid, recipe.grid_granularity(),
                                codes.decode(0, codes.out_features()).to(at::kChar), saved.at("scale"),
                                saved.at("clipped_fraction").item<double>()};
  if (!recipe.symmetric) weight.zero_point = saved.at("zero_point");
  return std::make_shared<quant::IntegerWeight>(saved.name, weight);
}

const std::vector<Method>& methods() {
  static const std::vector<Method> table = {
      {"lr-qat", true, prepare_lr_qat, restore_lr_qat, nullptr, lr_qat_bytes, true, false, true, start_lr_qat,
       true, false, true},
      {"l4q", true, prepare_l4q, restore_l4q, l4q_defaults, l4q_bytes, true, false, true, start_l4q},
      {"lsq", true, prepare_lsq, restore_lsq, lsq_defaults, nullptr, false, true, true, start_lsq},
      {"peqa", true, prepare_peqa, restore_peqa, peqa_defaults, integer_bytes, false, false, true,
       start_peqa},
      {"qlora", true, prepare_qlora, restore_qlora, lora_defaults, integer_bytes, true, false, true,
       start_qlora, false, true, true},
      {"lora", true, prepare_lora, restore_lora, lora_defaults, l4q_bytes, true, false, false, nullptr, false,
       true},
      {"rtn", false, prepare_rtn, restore_rtn, nullptr, integer_bytes, false, false, true, start_rtn},
  };
  return table;
}

// The integers on the recipe's grid, where --init asks for them and it has them.
std::optional<quant::QuantizedWeight> taken_over(const Recipe& own, const std::string& layer,
                                                 const quant::QuantizedWeight* stored) {
  if (own.init != "auto" && own.init != "stored") return std::nullopt;
  std::string obstacle = "it is float";
  std::optional<quant::QuantizedWeight> start;
  if (stored != nullptr) {
    start = quant::on_grid(*stored, grid_of(own), own.grid_granularity(), own.symmetric, obstacle);
  }
  if (!start && own.init == "stored") {
    fail(layer, ": --init stored does not find its integers on the grid of --bits ", own.bits,
         " --granularity ", own.grid_granularity().name(), " --symmetric ", own.symmetric ? "true" : "false",
         ": ", obstacle, "; --init auto starts such linears from their values");
  }
  return start;
}

// With the stored scales and zero points in place of estimated ones, every method's own start has the stored
// codes: (s·k) / s rounds to k.
Recipe start_from(const quant::QuantizedWeight& start, const Recipe& own, const std::string& layer) {
  const quant::ScaleParameter scale(start.scale, own.scale_options());
  if (!at::equal(scale.effective(), start.scale)) {
    fail(layer, ": the model's scales are not kept by --scale-type ", quant::scale_type_name(own.scale_type),
         own.scale_domain == quant::ScaleDomain::log ? " and --scale-domain log" : "",
         ": use a --scale-type that holds them (float32 does), or --init range to find other scales");
  }
  return on_scales_of(start, own);
}

// By the layer's own recipe; `start`: the stored integers that it starts from, where it does.
WeightPtr prepare_own(const Method& method, const Recipe& own, const std::string& layer,
                      const at::Tensor& weight, const std::optional<quant::QuantizedWeight>& start) {
  if (!start && method.has_grid) check_scale_range(own, layer, weight);
  return method.prepare(start ? start_from(*start, own, layer) : own, layer, weight);
}

std::optional<quant::QuantizedWeight> start_of(const Method& method, const Recipe& own,
                                               const std::string& layer,
                                               const quant::QuantizedWeight* stored) {
  return method.has_grid ? taken_over(own, layer, stored) : std::nullopt;
}

}  // namespace

const at::Tensor& SavedLayer::at(const std::string& tensor) const {
  const auto found = tensors.find(tensor);
  if (found == tensors.end()) fail("the run holds no tensor \"", name, ".", tensor, "\"");
  return found->second;
}

std::string known_methods() {
  std::string names;
  for (const Method& method : methods()) names += (names.empty() ? "" : ", ") + method.name;
  return names;
}

const Method& find_method(const std::string& name) {
  for (const Method& method : methods()) {
    if (method.name == name) return method;
  }
  throw UsageError(concat("--method ", quote(name), " is not known: use one of ", known_methods()));
}

std::string parse_method(const std::string& name) { return find_method(name).name; }

Recipe method_defaults(const std::string& name) {
  const Method& method = find_method(name);
  Recipe recipe;
  recipe.method = name;
  if (method.defaults != nullptr) method.defaults(recipe);
  return recipe;
}

WeightPtr prepare_layer(const Method& method, const Recipe& recipe, const std::string& layer,
                        const at::Tensor& weight, const quant::QuantizedWeight* stored) {
  const std::optional<Recipe> own = layer_recipe(recipe, layer);
  return own ? prepare_own(method, *own, layer, weight, start_of(method, *own, layer, stored)) : nullptr;
}

WeightPtr prepare_layer(const Method& method, const Recipe& recipe, const nn::Linear& linear,
                        const at::Tensor& weight) {
  const auto stored = model::stored_integers(*linear.weight());
  return prepare_layer(method, recipe, linear.name(), weight, stored ? &*stored : nullptr);
}

bool starts_from_stored(const Method& method, const Recipe& recipe, const nn::Linear& linear) {
  const auto own = layer_recipe(recipe, linear.name());
  const auto stored = model::stored_integers(*linear.weight());
  return own && stored && start_of(method, *own, linear.name(), &*stored).has_value();
}

void prepare_linears(const Method& method, const Recipe& recipe, model::Decoder& decoder,
                     const formats::WeightSource& source, ProgressReporter& progress) {
  std::int64_t quantized = 0, taken = 0;
  model::prepare(
      decoder, source,
      [&](const std::string& name, const at::Tensor& weight) {
        const auto own = layer_recipe(recipe, name);
        if (!own) return WeightPtr();
        const auto stored = model::stored_integers(*decoder.find_linear(name)->weight());
        const auto start = start_of(method, *own, name, stored ? &*stored : nullptr);
        quantized += stored && method.has_grid ? 1 : 0;
        taken += start ? 1 : 0;
        return prepare_own(method, *own, name, weight, start);
      },
      progress);
  if (quantized == 0) return;
  progress.message(concat("of ", quantized, " quantized linears ", taken,
                          " start from their integers and scales, ", quantized - taken,
                          " from their values (other grid, or --init)"));
}

WeightPtr prepare_gptq(const Method& method, const Recipe& recipe, const std::string& layer,
                       const at::Tensor& weight, const quant::GptqFactor& factor) {
  check_init(method, "gptq");
  check_scale_range(recipe, layer, weight);
  const quant::GptqOptions options{grid_of(recipe), recipe.grid_granularity(), recipe.scale_options(),
                                   recipe.symmetric};
  return method.start(recipe, layer, quant::gptq(layer, weight, factor, options, recipe.range));
}

void check_init(const Method& method, const std::string& init) {
  const auto has = [&](const Method& one) {
    if (init == "gptq") return one.start != nullptr;
    if (init == "svd") return one.svd_start;
    return one.has_grid || init == "auto" || init == "range";
  };
  if (has(method)) return;
  std::string names;
  for (const Method& other : methods()) {
    if (has(other)) names += (names.empty() ? "" : ", ") + other.name;
  }
  throw UsageError(concat("--init ", init, ": --method ", method.name,
                          init == "svd"     ? " has no adapters that a decomposition could fill"
                          : method.has_grid ? " does not start so"
                                            : " does not start from integers",
                          "; ", names, " do"));
}

WeightPtr restore_layer(const Method& method, const Recipe& recipe, const SavedLayer& saved) {
  const std::optional<Recipe> own = layer_recipe(recipe, saved.name);
  return own ? method.restore(*own, saved) : nullptr;
}

}  // namespace lrqat::train
