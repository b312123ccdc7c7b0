#include "autograd/optimizer.h"

#include <cmath>
#include <set>
#include <utility>

#include "autograd/state.h"
#include "autograd/support.h"
#include "core/kernels/elementwise.h"

namespace sked {

namespace {

void check(const OptimizerConfig& c) {
  const auto fraction = [](double x) { return x >= 0 && x < 1; };
  require_usage(fraction(c.momentum), "optimizer", "expected 0 <= momentum < 1, got ", c.momentum);
  require_usage(!c.nesterov || c.momentum > 0, "optimizer", "expected momentum > 0 with nesterov, got ", c.momentum);
  require_usage(fraction(c.beta1), "optimizer", "expected 0 <= beta1 < 1, got ", c.beta1);
  require_usage(fraction(c.beta2), "optimizer", "expected 0 <= beta2 < 1, got ", c.beta2);
  require_usage(c.eps > 0, "optimizer", "expected eps > 0, got ", c.eps);
  require_usage(c.weight_decay >= 0 && std::isfinite(c.weight_decay), "optimizer", "expected weight_decay >= 0, got ",
                c.weight_decay);
  require_usage(c.clip_norm >= 0, "optimizer", "expected clip_norm >= 0, got ", c.clip_norm);
}

/// The slots of optimizer state, in the order of Optimizer's members.
std::vector<std::string> slots(const OptimizerConfig& config) {
  if (config.kind != OptimizerKind::sgd) return {"m", "v"};
  return config.momentum > 0 ? std::vector<std::string>{"momentum"} : std::vector<std::string>{};
}

/// min(1, limit / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it: what brings a gradient of global norm
/// `norm` (1) down to `limit`. It stays on the device, which need not be waited for.
Tensor clip_factor(const Tensor& norm, double limit) {
  Tensor factor = Tensor::like(norm), one = Tensor::like(norm);
  one.fill(1);
  kernel::affine(norm, factor, 1 / limit, 1e-6 / limit);
  kernel::unary_forward(factor, factor, Unary::reciprocal);
  kernel::binary_forward(one, factor, factor, Binary::min);
  return factor;
}

}  // namespace

bool decays(const NamedVar& parameter) {
  const std::string leaf = parameter.name.substr(parameter.name.rfind('.') + 1);  // npos + 1 = 0: the whole name
  return parameter.var.ndim() >= 2 && leaf != "pos_embed" && leaf != "positional_embedding" && leaf != "cls_token" &&
         leaf != "reg_token";
}

Optimizer::Optimizer(const OptimizerConfig& config, const std::vector<NamedVar>& parameters) : config_(config) {
  check(config);
  const size_t count = slots(config).size();
  std::set<const void*> known;
  for (const NamedVar& parameter : parameters) {
    if (!parameter.var.requires_grad()) continue;
    require(known.insert(std::as_const(parameter.var).value().raw()).second, "optimizer",
            "expected each parameter once, got ", parameter.name, " again");
    parameters_.push_back(parameter);
    if (parameter.var.dtype() == DType::f32) parameters_.back().var.mutable_value().keep_rounded();
    decay_.push_back(decays(parameter) ? config.weight_decay : 0);
    if (count >= 1) first_.push_back(Tensor::zeros_like(parameter.var.value()));
    if (count >= 2) second_.push_back(Tensor::zeros_like(parameter.var.value()));
  }
}

Tensor Optimizer::step(double lr) {
  require(std::isfinite(lr), "optimizer", "expected a finite learning rate, got ", lr);
  TensorList values, gradients, rounded;
  for (NamedVar& parameter : parameters_) {
    values.push_back(parameter.var.mutable_value());
    const Tensor& grad = parameter.var.grad();
    gradients.push_back(grad.defined() ? grad : Tensor::zeros_like(values.back()));
    rounded.push_back(values.back().rounded_copy());
  }
  if (values.empty()) return {};

  Tensor norm, scale;
  if (config_.clip_norm > 0) {
    norm = detail::empty({1}, values.front());
    kernel::global_norm(gradients, norm);
    scale = clip_factor(norm, config_.clip_norm);
  }

  ++steps_;
  if (config_.kind == OptimizerKind::sgd) {
    const SgdStep step{.lr = lr, .momentum = config_.momentum, .nesterov = config_.nesterov, .first = steps_ == 1};
    kernel::sgd_step(values, gradients, first_, rounded, decay_, scale, step);
  } else {
    const AdamStep step{.lr = lr,
                        .beta1 = config_.beta1,
                        .beta2 = config_.beta2,
                        .eps = config_.eps,
                        .decoupled = config_.kind == OptimizerKind::adamw,
                        .step = steps_};
    kernel::adam_step(values, gradients, first_, second_, rounded, decay_, scale, step);
  }
  for (size_t i = 0; i < values.size(); ++i)
    if (rounded[i].defined()) values[i].set_rounded_current();
  return norm;
}

void Optimizer::clear_grads() {
  for (NamedVar& parameter : parameters_) parameter.var.clear_grad();
}

Optimizer::State Optimizer::state() const {
  State state;
  state.steps = steps_;
  const std::vector<std::string> names = slots(config_);
  for (size_t slot = 0; slot < names.size(); ++slot) {
    const TensorList& tensors = slot == 0 ? first_ : second_;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      state.tensors.emplace_back(names[slot] + "." + parameters_[i].name, tensors[i]);
    }
  }
  return state;
}

void Optimizer::load_state(const State& state) {
  require(state.steps >= 0, "optimizer", "expected a step count >= 0, got ", state.steps);
  detail::load_named(this->state().tensors, state.tensors, "optimizer");
  steps_ = state.steps;
}

}  // namespace sked
