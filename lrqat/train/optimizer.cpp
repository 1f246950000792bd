#include "lrqat/train/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <set>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

// What one parameter's update takes; views of the optimiser's own tensors.
struct Update {
  at::Tensor parameter, gradient, exp_avg, exp_avg_sq, step;
};

// The lists that at::_fused_adamw_ takes.
struct UpdateLists {
  std::vector<at::Tensor> parameters, gradients, exp_avgs, exp_avg_sqs, steps;

  void add(const Update& update) {
    parameters.push_back(update.parameter);
    gradients.push_back(update.gradient);
    exp_avgs.push_back(update.exp_avg);
    exp_avg_sqs.push_back(update.exp_avg_sq);
    steps.push_back(update.step);
  }
};

// The CPU kernel walks raw memory and trusts that all tensors of one parameter lie alike.
bool fused_takes(const Update& update) {
  return update.parameter.is_contiguous() &&
         update.gradient.scalar_type() == update.parameter.scalar_type() &&
         (update.parameter.is_cpu() || update.parameter.is_cuda());
}

// p -= lr·wd·p;  m = β1 m + (1-β1) g;  v = β2 v + (1-β2) g²;  p -= lr/(1-β1^t) · m / (sqrt(v)/sqrt(1-β2^t) +
// eps)
void plain_step(const Update& update, double lr, double weight_decay, const AdamWOptions& options) {
  const double step = update.step.item<double>();
  const double correction1 = 1.0 - std::pow(options.beta1, step);
  const double correction2 = 1.0 - std::pow(options.beta2, step);
  const at::Tensor gradient = update.gradient.to(update.parameter.scalar_type());
  update.parameter.mul_(1.0 - lr * weight_decay);
  update.exp_avg.lerp_(gradient, 1.0 - options.beta1);
  update.exp_avg_sq.mul_(options.beta2).addcmul_(gradient, gradient, 1.0 - options.beta2);
  const at::Tensor denominator = update.exp_avg_sq.sqrt().div_(std::sqrt(correction2)).add_(options.eps);
  update.parameter.addcdiv_(update.exp_avg, denominator, -lr / correction1);
}

void fused_step(const UpdateLists& lists, double lr, double weight_decay, const AdamWOptions& options) {
  if (lists.parameters.empty()) return;
  at::_fused_adamw_(lists.parameters, lists.gradients, lists.exp_avgs, lists.exp_avg_sqs,
                    /*max_exp_avg_sqs=*/{}, lists.steps, lr, options.beta1, options.beta2, weight_decay,
                    options.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void check_options(const AdamWOptions& options) {
  const auto beta_ok = [](double beta) { return beta >= 0.0 && beta < 1.0; };
  if (!beta_ok(options.beta1) || !beta_ok(options.beta2)) {
    throw UsageError(
        concat("AdamW's betas are ", options.beta1, " and ", options.beta2, ": expected 0 <= beta < 1"));
  }
  if (!(options.eps > 0.0))
    throw UsageError(concat("AdamW's eps is ", options.eps, ": expected more than 0"));
}

void check_groups(const std::vector<ParameterGroup>& groups) {
  std::set<std::string> names;
  for (const ParameterGroup& group : groups) {
    if (!(group.lr >= 0.0) || !std::isfinite(group.lr)) {
      throw UsageError(concat("learning rate ", group.lr, ": expected 0 or more"));
    }
    for (const auto& [name, parameter] : group.parameters) {
      LRQAT_CHECK(names.insert(name).second, "parameter ", name, " is there twice");
      LRQAT_CHECK(parameter.defined() && parameter.is_leaf() && parameter.requires_grad(), name);
      LRQAT_CHECK(parameter.scalar_type() == at::kFloat, name, " is not float32");
    }
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

// In float64, a piece at a time: a table's gradient as a whole would take twice its memory again.
double squared_norm(const at::Tensor& gradient) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  double squares = 0.0;
  for (const at::Tensor& piece : gradient.reshape({-1}).split(kPiece)) {
    const double norm = at::linalg_vector_norm(piece, 2, std::nullopt, false, at::kDouble).item<double>();
    squares += norm * norm;
  }
  return squares;
}

double squared_norm(const ParameterGroup& group) {
  double squares = 0.0;
  for (const auto& [name, parameter] : group.parameters) {
    if (parameter.grad().defined()) squares += squared_norm(parameter.grad());
  }
  return squares;
}

void scale_gradients(const ParameterGroup& group, double factor) {
  for (const auto& [name, parameter] : group.parameters) {
    if (parameter.grad().defined()) at::Tensor(parameter.grad()).mul_(factor);
  }
}

}  // namespace

AdamW::AdamW(std::vector<ParameterGroup> groups, const AdamWOptions& options)
    : groups_(std::move(groups)), options_(options) {
  check_options(options_);
  check_groups(groups_);
  for (const ParameterGroup& group : groups_) {
    std::vector<State>& states = states_.emplace_back();
    for (const auto& [name, parameter] : group.parameters) {
      states.push_back({like(parameter), like(parameter),
                        at::zeros({1}, at::TensorOptions(at::kFloat).device(parameter.device()))});
    }
  }
}

void AdamW::step(double lr_factor) {
  const at::NoGradGuard no_grad;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const ParameterGroup& group = groups_[g];
    UpdateLists fused;
    std::vector<Update> plain;
    for (std::size_t i = 0; i < group.parameters.size(); ++i) {
      const at::Tensor& parameter = group.parameters[i].second;
      if (!parameter.grad().defined()) continue;
      State& state = states_[g][i];
      state.step.add_(1);
      const Update update{parameter, parameter.grad().contiguous(), state.exp_avg, state.exp_avg_sq,
                          state.step};
      if (options_.fused && fused_takes(update)) {
        fused.add(update);
      } else {
        plain.push_back(update);
      }
    }
    const double lr = group.lr * lr_factor;
    fused_step(fused, lr, group.weight_decay, options_);
    for (const Update& update : plain) plain_step(update, lr, group.weight_decay, options_);
  }
}

void AdamW::zero_grad() {
  for (ParameterGroup& group : groups_) {
    for (auto& [name, parameter] : group.parameters) parameter.mutable_grad().reset();
  }
}

double AdamW::clip_grad_norm(double max_norm) {
  const at::NoGradGuard no_grad;
  double squares = 0.0;
  std::vector<double> norms;  // of the groups
  for (const ParameterGroup& group : groups_) {
    const double of_group = squared_norm(group);
    norms.push_back(std::sqrt(of_group));
    squares += of_group;
  }
  const double norm = std::sqrt(squares);
  if (max_norm <= 0.0 || !std::isfinite(norm)) return norm;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const double factor = max_norm / ((options_.clip_together ? norm : norms[g]) + 1e-6);
    if (factor < 1.0) scale_gradients(groups_[g], factor);
  }
  return norm;
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    for (std::size_t i = 0; i < states_[g].size(); ++i) {
      const std::string& name = groups_[g].parameters[i].first;
      const State& state = states_[g][i];
      all.emplace_back(name + ".exp_avg", state.exp_avg);
      all.emplace_back(name + ".exp_avg_sq", state.exp_avg_sq);
      all.emplace_back(name + ".step", state.step);
    }
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

}  // namespace lrqat::train
