#include "lrqat/nn/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/ops/adamw_update.h"

namespace lrqat::nn {
namespace {

void check_options(const AdamWOptions& options) {
  const auto beta_ok = [](double beta) { return beta >= 0.0 && beta < 1.0; };
  if (!beta_ok(options.beta1) || !beta_ok(options.beta2)) {
    throw UsageError(
        concat("AdamW's betas are ", options.beta1, " and ", options.beta2, ": expected 0 <= beta < 1"));
  }
  if (!(options.eps > 0.0))
    throw UsageError(concat("AdamW's eps is ", options.eps, ": expected more than 0"));
}

void check_parameters(const std::vector<TrainedParameter>& parameters) {
  std::set<std::string> names;
  for (const auto& [name, value, lr, weight_decay, clip_group] : parameters) {
    if (!(lr >= 0.0) || !std::isfinite(lr))
      throw UsageError(concat("learning rate ", lr, ": expected 0 or more"));
    LRQAT_CHECK(names.insert(name).second, "parameter ", name, " is there twice");
    LRQAT_CHECK(value.defined() && value.is_leaf() && value.requires_grad(), name);
    LRQAT_CHECK(value.scalar_type() == at::kFloat, name, " is not float32");
  }
}

at::Tensor like(const at::Tensor& parameter) {
  return at::zeros_like(parameter.detach(), at::MemoryFormat::Contiguous);
}

void load_tensor(const at::Tensor& target, const std::map<std::string, at::Tensor>& state,
                 const std::string& name) {
  const auto found = state.find(name);
  if (found == state.end()) fail("optimiser state: tensor ", name, " is missing");
  if (found->second.sizes() != target.sizes()) {
    fail("optimiser state: tensor ", name, " has shape ", found->second.sizes(), ", expected ",
         target.sizes());
  }
  target.copy_(found->second);
}

// In float64, a piece at a time: a copy of a whole embedding's gradient would take much memory.
double squared_norm(const at::Tensor& gradient) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  double squares = 0.0;
  for (const at::Tensor& piece : gradient.reshape({-1}).split(kPiece)) {
    const double norm = at::linalg_vector_norm(piece, 2, std::nullopt, false, at::kDouble).item<double>();
    squares += norm * norm;
  }
  return squares;
}

}  // namespace

AdamW::AdamW(std::vector<TrainedParameter> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  check_options(options_);
  check_parameters(parameters_);
  for (const auto& parameter : parameters_) {
    const at::Tensor& value = parameter.value;
    states_.push_back(
        {like(value), like(value), at::zeros({1}, at::TensorOptions(at::kFloat).device(value.device()))});
  }
}

void AdamW::step(double lr_factor) {
  const at::NoGradGuard no_grad;
  std::map<std::pair<double, double>, std::vector<ops::AdamWUpdate>> updates;  // by rate and decay
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const TrainedParameter& parameter = parameters_[i];
    const at::Tensor& gradient = parameter.value.grad();
    if (!gradient.defined()) continue;
    State& state = states_[i];
    state.step.add_(1);
    updates[{parameter.lr * lr_factor, parameter.weight_decay}].push_back(
        {parameter.value, gradient.contiguous(), state.exp_avg, state.exp_avg_sq, state.step});
  }
  for (const auto& [rate, group] : updates) {
    ops::adamw_update(group, {rate.first, rate.second, options_.beta1, options_.beta2, options_.eps},
                      options_.fused);
  }
}

void AdamW::zero_grad() {
  for (TrainedParameter& parameter : parameters_) parameter.value.mutable_grad().reset();
}

double AdamW::clip_grad_norm(double max_norm) {
  const at::NoGradGuard no_grad;
  std::map<int, double> squares;  // by clip group
  for (const TrainedParameter& parameter : parameters_) {
    const at::Tensor& gradient = parameter.value.grad();
    if (gradient.defined()) squares[parameter.clip_group] += squared_norm(gradient);
  }
  double all_squares = 0.0;
  for (const auto& [group, of_group] : squares) all_squares += of_group;
  const double norm = std::sqrt(all_squares);
  if (max_norm <= 0.0 || !std::isfinite(norm)) return norm;
  for (const TrainedParameter& parameter : parameters_) {
    if (!parameter.value.grad().defined()) continue;
    const double clipped = options_.clip_together ? norm : std::sqrt(squares.at(parameter.clip_group));
    const double factor = max_norm / (clipped + 1e-6);
    if (factor < 1.0) at::Tensor(parameter.value.grad()).mul_(factor);
  }
  return norm;
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const std::string& name = parameters_[i].name;
    all.emplace_back(name + ".exp_avg", states_[i].exp_avg);
    all.emplace_back(name + ".exp_avg_sq", states_[i].exp_avg_sq);
    all.emplace_back(name + ".step", states_[i].step);
  }
  return all;
}

void AdamW::load_state(const std::vector<std::pair<std::string, at::Tensor>>& state) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> by_name(state.begin(), state.end());
  for (const auto& [name, tensor] : this->state()) load_tensor(tensor, by_name, name);
}

std::int64_t AdamW::state_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : state()) bytes += tensor.nbytes();
  return static_cast<std::int64_t>(bytes);
}

}  // namespace lrqat::nn
