#include "lrqat/start/prepare.h"

#include <ATen/ATen.h>

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/model/prepare.h"
#include "lrqat/quant/on_grid.h"
#include "lrqat/start/inits.h"
#include "lrqat/start/kept_blocks.h"
#include "lrqat/start/scale_range.h"
#include "lrqat/start/transform.h"

namespace lrqat::start {
namespace {

using methods::Method;
using methods::WeightPtr;

// The stored integers on the plan's grid, where the start looks for them and they lie on it.
std::optional<quant::QuantizedWeight> stored_on_grid(const Method& method, const LinearPlan& plan,
                                                     const std::string& name,
                                                     const quant::QuantizedWeight* stored) {
  const Start& start = start_of(plan.init);
  if (start.stored == Stored::ignored || !method.has_grid) return std::nullopt;
  const quant::QuantSpec& spec = plan.options.spec;
  std::string obstacle = "it is float";
  std::optional<quant::QuantizedWeight> found;
  if (stored != nullptr) {
    found = quant::on_grid(*stored, spec.grid, spec.granularity, spec.symmetric, obstacle);
  }
  if (!found && start.stored == Stored::required) {
    fail(name, ": `init` ", start.name, " does not find its integers on the grid of `bits` ",
         spec.grid.num_bits, " `granularity` ", spec.granularity.name(), " `symmetric` ",
         spec.symmetric ? "true" : "false", ": ", obstacle,
         "; `init` auto starts such linears from their values");
  }
  return found;
}

void check_start(const Method& method, const Start& start, const LinearInput& linear) {
  check_init(method, start.name);
  if (method.has_grid && !linear.stored) check_scale_range(linear.options.spec, linear.name, linear.weight);
}

// Hands the method what the start gives.
WeightPtr give(const Method& method, const Start& start, Given given, LinearInput& linear) {
  LRQAT_CHECK(given.index() == static_cast<std::size_t>(start.gives), start.name);
  switch (start.gives) {
    case Gives::range:
      linear.options.range = std::get<quant::InitialRange>(std::move(given));
      return method.prepare(linear.name, linear.weight, linear.options);
    case Gives::integers:
      return method.from_integers(linear.name, std::get<quant::RoundedWeight>(given), linear.options);
    case Gives::adapters:
      return method.from_decomposition(linear.name, linear.weight, linear.options);
  }
  internal_error(__FILE__, __LINE__, "start", start.name);
}

WeightPtr start_and_give(const Method& method, const Start& start, const StartLinear& start_linear,
                         LinearInput& linear) {
  check_start(method, start, linear);
  return give(method, start, start_linear(linear), linear);
}

[[noreturn]] void fail_without_text(const std::string& name, const std::string& init) {
  fail(name, ": `init` ", init, " starts from calibration text, and there is none");
}

// With calibration text, block by block.
class TextPreparation {
 public:
  TextPreparation(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source)
      : plan_(plan), decoder_(decoder), source_(source) {
    std::set<std::string> inits;
    for (const nn::Linear* linear : decoder.linears()) {
      if (const auto own = plan.of(linear->name())) inits.insert(own->init);
    }
    for (const std::string& init : inits) has_block_starts_ |= static_cast<bool>(start_of(init).block);
    for (const Transform* transform : all_transforms()) {
      if (inits.contains(transform->name)) transforms_.push_back(transform);
    }
  }

  // Whether a start asks for what the float blocks give.
  bool has_block_starts() const { return has_block_starts_; }
  std::int64_t steps() const { return has_block_starts_ ? plan_.text.block_steps : 1; }  // of a block

  void prepare(Block& block) const {
    if (!transforms_.empty()) {
      transform(block);
    } else if (has_block_starts_) {
      prepare_without_moving(block);
    } else {
      block.prepare_in_order(
          [&](const model::LinearGroup& group, const ForEachInput& inputs) { prepare(group, inputs); });
    }
    if (has_block_starts_) prepare_together(block);
  }

 private:
  at::Tensor read(const nn::Linear& linear) const {
    const std::string tensor = linear.name() + ".weight";
    at::Tensor weight = model::read_tensor(source_, tensor).to(decoder_.device());
    source_.release(tensor);
    return weight;
  }

  // The block's inputs are still wanted behind it, so its groups see them once more each.
  void prepare_without_moving(Block& block) const {
    const auto groups = block.layer().linear_groups();
    for (std::size_t i = 0; i < groups.size(); ++i) {
      prepare(groups[i], [&](const SeeInput& see) {
        block.observe([&](std::size_t group, const at::Tensor& x) {
          if (group == i) see(x);
        });
      });
    }
  }

  // The linears that start together, once the others have started.
  void prepare_together(Block& block) const {
    std::map<std::string, BlockInput> inputs;  // by name of the start
    for (nn::Linear* linear : block.layer().linears()) {
      const auto own = plan_.of(linear->name());
      if (!own || !start_of(own->init).block) continue;
      const Start& start = start_of(own->init);
      auto& input = inputs.try_emplace(start.name, BlockInput{block, {}, plan_.text}).first->second;
      input.linears.push_back({linear, {linear->name(), read(*linear), own->options, {}}});
      check_start(plan_.method, start, input.linears.back().input);
    }
    for (auto& [name, input] : inputs) {
      const Start& start = start_of(name);
      std::vector<Given> given = start.block(input);
      LRQAT_CHECK(given.size() == input.linears.size(), name);
      for (std::size_t i = 0; i < given.size(); ++i) {
        auto& [linear, own] = input.linears[i];
        linear->set_weight(give(plan_.method, start, std::move(given[i]), own));
      }
    }
  }

  // Each linear from the inputs that those before it produce. Those that start together wait.
  void prepare(const model::LinearGroup& group, const ForEachInput& inputs) const {
    std::map<std::string, StartLinear> begun;  // by name of the start
    for (const nn::Linear* linear : group.linears) {
      const auto own = plan_.of(linear->name());
      if (!own || !start_of(own->init).group || begun.contains(own->init)) continue;
      begun[own->init] = start_of(own->init).group({group, inputs, decoder_.device(), plan_.text});
    }
    for (nn::Linear* linear : group.linears) {
      const auto own = plan_.of(linear->name());
      if (own && start_of(own->init).block) continue;
      const at::Tensor weight = read(*linear);
      if (!own) continue;
      if (!begun.contains(own->init)) {
        linear->set_weight(start_from_weight(*own, *linear, weight));
        continue;
      }
      LinearInput input{linear->name(), weight, own->options, {}};
      linear->set_weight(start_and_give(plan_.method, start_of(own->init), begun.at(own->init), input));
    }
  }

  WeightPtr start_from_weight(const LinearPlan& own, const nn::Linear& linear,
                              const at::Tensor& weight) const {
    const auto stored = linear.weight()->stored_integers();
    return start_linear(plan_.method, own, linear.name(), weight, stored ? &*stored : nullptr);
  }

  // Changes the block's weights, then starts them.
  void transform(const Block& block) const {
    LayerWeights weights;
    const auto groups = block.layer().linear_groups();
    for (const model::LinearGroup& group : groups) {
      if (const nn::RmsNorm* norm = group.producer.norm; norm != nullptr)
        weights.norms[group.producer.norm_name] = norm->weight + norm->offset;
      for (const nn::Linear* linear : group.linears) weights.matrices[linear->name()] = read(*linear);
    }
    for (const Transform* transform : transforms_) {
      const auto spec_of = [&](const nn::Linear& linear) -> std::optional<quant::QuantSpec> {
        const auto own = plan_.of(linear.name());
        return own && own->init == transform->name ? std::optional(own->options.spec) : std::nullopt;
      };
      transform->apply(block, spec_of, weights);
    }
    for (const model::LinearGroup& group : groups) replace(group, weights);
  }

  // Gives the linears, and the norm that feeds them, what the weights are now.
  void replace(const model::LinearGroup& group, const LayerWeights& weights) const {
    if (const nn::RmsNorm* norm = group.producer.norm; norm != nullptr) {
      const at::Tensor& factor = weights.norms.at(group.producer.norm_name);
      if (!at::equal(norm->weight + norm->offset, factor))
        decoder_.replace(group.producer.norm_name, factor - norm->offset);
    }
    for (nn::Linear* linear : group.linears) {
      if (const auto own = plan_.of(linear->name()))
        linear->set_weight(start_from_weight(*own, *linear, weights.matrices.at(linear->name())));
    }
  }

  const Plan& plan_;
  model::Decoder& decoder_;
  const formats::WeightSource& source_;
  std::vector<const Transform*> transforms_;  // that linears take part in
  bool has_block_starts_ = false;
};

}  // namespace

WeightPtr start_linear(const Method& method, const LinearPlan& plan, const std::string& name,
                       const at::Tensor& weight, const quant::QuantizedWeight* stored) {
  const Start& start = start_of(plan.init);
  if (start.needs_text()) fail_without_text(name, plan.init);
  LinearInput input{name, weight, plan.options, stored_on_grid(method, plan, name, stored)};
  return start_and_give(method, start, start.linear, input);
}

bool starts_from_stored(const Method& method, const LinearPlan& plan, const nn::Linear& linear) {
  const auto stored = linear.weight()->stored_integers();
  return stored && stored_on_grid(method, plan, linear.name(), &*stored).has_value();
}

void start_linears(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source,
                   ProgressReporter& progress) {
  std::int64_t quantized = 0, taken = 0;
  const auto start = [&](const std::string& name, const at::Tensor& weight) -> WeightPtr {
    const auto own = plan.of(name);
    if (!own) return nullptr;
    const Start& row = start_of(own->init);
    if (needs_text(own->init)) fail_without_text(name, own->init);
    const auto stored = decoder.find_linear(name)->weight()->stored_integers();
    LinearInput input{name, weight, own->options,
                      stored_on_grid(plan.method, *own, name, stored ? &*stored : nullptr)};
    quantized += stored && plan.method.has_grid ? 1 : 0;
    taken += input.stored ? 1 : 0;
    return start_and_give(plan.method, row, row.linear, input);
  };
  model::prepare(decoder, source, start, progress);
  if (quantized == 0) return;
  progress.message(concat("of ", quantized, " quantized linears ", taken,
                          " start from their integers and scales, ", quantized - taken,
                          " from their values (other grid, or `init`)"));
}

void start_linears(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source,
                   std::span<const at::Tensor> batches, ProgressReporter& progress, const Workspace& space) {
  const TextPreparation preparation(plan, decoder, source);
  const LayerPassOptions options{.targets = preparation.has_block_starts(), .steps = preparation.steps()};
  const auto prepare = [&](Block& block) { preparation.prepare(block); };
  if (space.folder) {
    KeptBlocks(plan, decoder, source).prepare(batches, options, prepare, space, progress);
  } else {
    LayerPass(decoder, batches, options).run(prepare, progress);
  }
}

void prepare_block(const Plan& plan, model::Decoder& decoder, const formats::WeightSource& source,
                   Block& block) {
  TextPreparation(plan, decoder, source).prepare(block);
}

}  // namespace lrqat::start
