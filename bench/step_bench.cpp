// Whole LR-QAT training steps on random weights of a real model's geometry, made layer by layer as loading
// and preparing do: seconds a step, the losses on repeated data, and peak resident memory from the kernel's
// counter.
//
//     step_bench --geometry smollm2-135m|llama-1b|llama-7b [--phi P] [--compute float32|bfloat16] [--batch B]
//                [--sequence L] [--steps S] [--rank R] [--layers N] [--memory-budget BYTES] [--lr X]
//                [--profile 1] [--device cpu|cuda]
//
// prints one JSON object: {geometry, phi, compute_dtype, batch, sequence, rank, kept_blocks, kept_products,
// prepare_seconds, step_seconds: [...], losses: [...], tokens_per_second (of the fastest step),
// peak_memory_bytes, prepared_peak_bytes}, with --profile 1 also where the time of the fastest step went,
// {"profile": {part: seconds}}, and product_flops_per_second, what block products of the compute type reach
// alone.
#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lrqat/base/clock.h"
#include "lrqat/base/cpu.h"
#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/methods/method.h"
#include "lrqat/model/build.h"
#include "lrqat/model/device.h"
#include "lrqat/model/tensor_pool.h"
#include "lrqat/nn/optimizer.h"
#include "lrqat/ops/backend.h"
#include "lrqat/train/train_step.h"
#include "lrqat/train/trained_parameters.h"

namespace lrqat {
namespace {

formats::ModelConfig geometry(const std::string& name) {
  formats::ModelConfig c;
  c.rms_norm_eps = 1e-5;
  const auto set = [&](std::int64_t hidden, std::int64_t intermediate, std::int64_t layers,
                       std::int64_t heads, std::int64_t kv_heads, std::int64_t vocabulary, bool tied) {
    c.hidden_size = hidden;
    c.intermediate_size = intermediate;
    c.num_hidden_layers = layers;
    c.num_attention_heads = heads;
    c.num_key_value_heads = kv_heads;
    c.head_dim = hidden / heads;
    c.vocab_size = vocabulary;
    c.tie_word_embeddings = tied;
  };
  if (name == "smollm2-135m") {
    set(576, 1536, 30, 9, 3, 49152, true);
  } else if (name == "llama-1b") {
    set(2048, 8192, 16, 32, 8, 128256, true);
  } else if (name == "llama-7b") {
    set(4096, 11008, 32, 32, 32, 32000, false);
  } else {
    fail("--geometry \"", name, "\" is not known: smollm2-135m, llama-1b or llama-7b");
  }
  return c;
}

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 1; i + 1 < argc; i += 2) values_[argv[i]] = argv[i + 1];
  }
  std::string text(const std::string& flag, const std::string& otherwise) const {
    const auto found = values_.find(flag);
    return found == values_.end() ? otherwise : found->second;
  }
  std::int64_t number(const std::string& flag, std::int64_t otherwise) const {
    return std::stoll(text(flag, std::to_string(otherwise)));
  }

 private:
  std::map<std::string, std::string> values_;
};

// Seconds of every scope that the library records (RECORD_USER_SCOPE), those inside it not counted.
class Profile {
 public:
  Profile() {
    current_ = this;
    handle_ =
        at::addGlobalCallback(at::RecordFunctionCallback(begin, end).scopes({at::RecordScope::USER_SCOPE}));
  }
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  ~Profile() { at::removeCallback(handle_); }
  void clear() { seconds_.clear(); }
  const std::map<std::string, double>& seconds() const { return seconds_; }

 private:
  struct Frame {
    std::string name;
    double begin = 0.0, inside = 0.0;
  };

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    current_->frames_.push_back({function.name(), seconds_now()});
    return nullptr;
  }
  static void end(const at::RecordFunction&, at::ObserverContext*) {
    auto& frames = current_->frames_;
    const Frame frame = frames.back();
    frames.pop_back();
    const double took = seconds_now() - frame.begin;
    current_->seconds_[frame.name] += took - frame.inside;
    if (!frames.empty()) frames.back().inside += took;
  }

  static inline Profile* current_ = nullptr;
  at::CallbackHandle handle_;
  std::vector<Frame> frames_;  // one thread records: what is split over threads lies within a scope
  std::map<std::string, double> seconds_;
};

nlohmann::json parts_of(const Profile& profile, double step_seconds, double optimizer_seconds) {
  std::map<std::string, double> parts = profile.seconds();
  parts["optimizer"] = optimizer_seconds;
  double known = 0.0;
  for (const auto& [part, seconds] : parts) known += seconds;
  parts["other"] = step_seconds - known;
  return parts;
}

// Floating-point operations a second of block products with a float weight, the best of a few.
double product_speed(ops::ComputeType compute) {
  const at::Tensor weight = at::randn({2048, 2048}).to(ops::scalar_type(compute));
  const auto operand = ops::backend_of(weight).stored_operand(ops::stored_float(weight), compute);
  if (!operand) return 0.0;
  const at::Tensor x = at::randn({1024, 2048}).to(weight.scalar_type());
  double best = 0.0;
  for (int i = 0; i < 10; ++i) {
    const double start = seconds_now();
    operand->multiply(x, at::empty({1024, 2048}));
    best = std::max(best, 2.0 * 1024 * 2048 * 2048 / (seconds_now() - start));
  }
  return best;
}

std::unique_ptr<model::Decoder> build(const formats::ModelConfig& config,
                                      const methods::LrQatOptions& options, ops::ComputeType compute,
                                      at::Device device) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& tensor : formats::expected_tensors(config)) shapes[tensor.name] = tensor.shape;
  // Norms of ones, matrices of noise; the embedding and the head as a bfloat16 model has them.
  const auto tensor = [&](const std::string& name) {
    const auto& shape = shapes.at(name);
    if (shape.size() == 1) return at::ones(shape, device);
    const auto type = name.starts_with("model.layers.") ? at::kFloat : at::kBFloat16;
    return at::empty(shape, at::TensorOptions(device).dtype(type)).normal_(0.0, 0.02);
  };
  model::WeightProvider provider = model::float_weights(tensor);
  provider.weight = [&, as_it_is = provider.weight](const std::string& module) {
    if (!module.starts_with("model.layers.")) return as_it_is(module);
    const at::Tensor weight = tensor(module + ".weight");
    const methods::WeightPtr prepared = methods::LrQatWeight::prepare(module, weight, options, {}, 1);
    release_free_memory();
    return prepared;
  };
  return model::build_decoder(config, provider, compute);
}

int run(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::string name = arguments.text("--geometry", "smollm2-135m");
  formats::ModelConfig config = geometry(name);
  config.num_hidden_layers = arguments.number("--layers", config.num_hidden_layers);
  const std::string compute_name = arguments.text("--compute", has_fast_bfloat16() ? "bfloat16" : "float32");
  const auto compute = compute_name == "bfloat16" ? ops::ComputeType::bfloat16 : ops::ComputeType::float32;
  const std::int64_t batch = arguments.number("--batch", 4), sequence = arguments.number("--sequence", 512);
  const std::int64_t steps = arguments.number("--steps", 3);
  const at::Device device = model::open_device(arguments.text("--device", "cpu"));
  methods::LrQatOptions options;
  options.grid = quant::Grid::signed_symmetric(4);
  options.granularity = quant::Granularity::parse(arguments.text("--granularity", "channel"));
  options.downcast = quant::parse_downcast(arguments.text("--phi", "fixed_point8"));
  options.rank = arguments.number("--rank", 32);
  options.lora_alpha = static_cast<double>(options.rank);
  options.scale.type = quant::ScaleType::float32;

  model::pool_large_tensors();  // as the program does
  at::manual_seed(0);
  const double begin = seconds_now();
  const auto student = build(config, options, compute, device);
  const double prepare_seconds = seconds_now() - begin;
  const std::int64_t prepared_peak = peak_resident_bytes();
  const train::KeptActivations kept =
      train::kept_within(*student, arguments.number("--memory-budget", 0), batch * sequence);
  train::Recipe recipe;
  recipe.lr = std::stod(arguments.text("--lr", "1e-3"));
  nn::AdamW optimizer(train::trained_parameters(recipe, *student), {});
  const train::TrainStep step(*student, nullptr, {0.0, kept});
  const at::Tensor tokens = at::randint(config.vocab_size, {batch, sequence}, at::kLong).to(device);
  nlohmann::json seconds = nlohmann::json::array(), losses = nlohmann::json::array();
  double fastest = 1e30;
  std::optional<Profile> profile;
  if (arguments.number("--profile", 0) != 0) profile.emplace();
  nlohmann::json parts;
  for (std::int64_t i = 0; i < steps; ++i) {
    if (profile) profile->clear();
    const double start = seconds_now();
    optimizer.zero_grad();
    const nn::LossSums sums = step.accumulate(tokens, static_cast<double>(batch * (sequence - 1)));
    const double update = seconds_now();
    optimizer.clip_grad_norm(1.0);
    optimizer.step(1.0);
    if (!device.is_cpu()) optimizer.parameters().front().value.sum().item<float>();  // waits for the device
    const double took = seconds_now() - start;
    if (profile && took < fastest) parts = parts_of(*profile, took, seconds_now() - update);
    fastest = std::min(fastest, took);
    seconds.push_back(took);
    losses.push_back(step.loss(sums));
    std::fprintf(stderr, "step %ld: %.2f s, loss %.4f, peak %.2f GB\n", static_cast<long>(i), took,
                 step.loss(sums), static_cast<double>(peak_resident_bytes()) / 1e9);
  }
  nlohmann::json out{{"geometry", name},
                     {"phi", quant::downcast_name(options.downcast)},
                     {"granularity", options.granularity.name()},
                     {"compute_dtype", compute_name},
                     {"device", device.str()},
                     {"layers", config.num_hidden_layers},
                     {"batch", batch},
                     {"sequence", sequence},
                     {"rank", options.rank},
                     {"kept_blocks", kept.blocks},
                     {"kept_products", kept.products},
                     {"prepare_seconds", prepare_seconds},
                     {"prepared_peak_bytes", prepared_peak},
                     {"step_seconds", seconds},
                     {"losses", losses},
                     {"tokens_per_second", static_cast<double>(batch * sequence) / fastest},
                     {"peak_memory_bytes", peak_resident_bytes()}};
  if (profile) {
    out["profile"] = parts;
    out["product_flops_per_second"] = product_speed(compute);
  }
  std::cout << out.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace lrqat

int main(int argc, char** argv) {
  try {
    return lrqat::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "step_bench: %s\n", error.what());
    return 1;
  }
}
