#include "autograd/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "autograd/state.h"
#include "autograd/support.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/memory.h"

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
  require_usage(c.noise_lr_scale >= 0 && std::isfinite(c.noise_lr_scale), "optimizer",
                "expected noise_lr_scale >= 0, got ", c.noise_lr_scale);
  require_usage((c.noise_weight_decay >= 0 && std::isfinite(c.noise_weight_decay)) || c.noise_weight_decay == -1,
                "optimizer", "expected noise_weight_decay >= 0 (or -1: weight_decay), got ", c.noise_weight_decay);
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

bool of_noise(const NamedVar& parameter) { return ("." + parameter.name).find(".noise.") != std::string::npos; }

Optimizer::Optimizer(const OptimizerConfig& config, const std::vector<NamedVar>& parameters,
                     const std::vector<double>& lr_scales, Communicator& ranks)
    : config_(config), ranks_(ranks) {
  check(config);
  require(lr_scales.empty() || lr_scales.size() == parameters.size(), "optimizer",
          "expected a learning rate's factor for each of ", parameters.size(), " parameters, got ", lr_scales.size());
  const double noise_decay = config.noise_weight_decay < 0 ? config.weight_decay : config.noise_weight_decay;
  const size_t count = slots(config).size();
  std::set<const void*> known;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const NamedVar& parameter = parameters[i];
    if (!parameter.var.requires_grad()) continue;
    require(known.insert(std::as_const(parameter.var).value().raw()).second, "optimizer",
            "expected each parameter once, got ", parameter.name, " again");
    parameters_.push_back(parameter);
    if (parameter.var.dtype() == DType::f32) parameters_.back().var.mutable_value().keep_rounded();
    const bool noise = of_noise(parameter);
    const double scale = (lr_scales.empty() ? 1 : lr_scales[i]) * (noise ? config.noise_lr_scale : 1);
    auto group = std::ranges::find(groups_, scale, &Group::lr_scale);
    if (group == groups_.end()) group = groups_.insert(group, {scale, {}});
    group->parameters.push_back(parameters_.size() - 1);
    decay_.push_back(!decays(parameter) ? 0 : noise ? noise_decay : config.weight_decay);
    const Tensor like = share_of(parameters_.size() - 1, parameter.var.value());
    if (count >= 1) first_.push_back(Tensor::zeros_like(like));
    if (count >= 2) second_.push_back(Tensor::zeros_like(like));
  }
}

/// Of a tensor of parameter i's shape what this rank steps: the tensor, or its share of the elements.
Tensor Optimizer::share_of(size_t i, const Tensor& t) const {
  if (!steps_share_of(i)) return t;
  const Span span = span_of(t.numel(), ranks_.rank(), ranks_.size());
  return t.reshape({-1}).rows(span.begin, span.end);
}

/// Each rank has stepped its share of their elements.
void Optimizer::gather_parameters() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!steps_share_of(i)) continue;
    Tensor whole = parameters_[i].var.mutable_value().reshape({-1});
    ranks_.all_gather(share_of(i, whole).clone(), span_sizes(whole.numel(), ranks_.size()), whole);
  }
}

/// √ of the sum of squares, in which a divided parameter's are those of all ranks.
Tensor Optimizer::norm_of(const TensorList& gradients) const {
  TensorList same, divided;
  for (size_t i = 0; i < gradients.size(); ++i)
    (parameters_[i].shard.divided() ? divided : same).push_back(gradients[i]);
  Tensor norm = detail::empty({1}, gradients.front());
  kernel::global_norm(same.empty() ? divided : same, norm);
  if (divided.empty() || ranks_.size() == 1) {
    if (!same.empty() && !divided.empty()) kernel::global_norm(gradients, norm);
    return norm;
  }
  Tensor squares = Tensor::like(norm);
  kernel::global_norm(divided, squares);
  kernel::binary_forward(squares, squares, squares, Binary::mul);
  ranks_.all_reduce(squares);
  if (!same.empty()) {
    kernel::binary_forward(norm, norm, norm, Binary::mul);
    kernel::add_scaled(norm, squares, 1);
  }
  kernel::unary_forward(squares, norm, Unary::sqrt);
  return norm;
}

Tensor Optimizer::step(double lr, WeightAverage* average) {
  require(std::isfinite(lr), "optimizer", "expected a finite learning rate, got ", lr);
  Inputs inputs;
  if (average) inputs.averages = average->averages_of(parameters_), inputs.ema_decay = average->decay();
  for (const NamedVar& parameter : parameters_) {
    const Tensor& grad = parameter.var.grad();
    inputs.gradients.push_back(grad.defined() ? grad : Tensor::zeros_like(parameter.var.value()));
  }
  if (parameters_.empty()) return {};

  Tensor norm;
  if (config_.clip_norm > 0) {
    norm = norm_of(inputs.gradients);
    inputs.scale = clip_factor(norm, config_.clip_norm);
  }

  ++steps_;
  if (steps_shares()) inputs.averages.clear();
  for (const Group& group : groups_) step_group(group.parameters, inputs, lr * group.lr_scale);
  gather_parameters();
  if (average && steps_shares()) average->update();  // of what was gathered
  return norm;
}

void Optimizer::step_group(const std::vector<size_t>& group, const Inputs& inputs, double lr) {
  TensorList values, gradients, rounded, averages, first, second;
  std::vector<double> decay;
  for (const size_t i : group) {
    values.push_back(share_of(i, parameters_[i].var.mutable_value()));
    rounded.push_back(values.back().rounded_copy());
    gradients.push_back(share_of(i, inputs.gradients[i]));
    decay.push_back(decay_[i]);
    if (!inputs.averages.empty()) averages.push_back(inputs.averages[i]);
    if (!first_.empty()) first.push_back(first_[i]);
    if (!second_.empty()) second.push_back(second_[i]);
  }
  if (values.empty()) return;
  if (config_.kind == OptimizerKind::sgd) {
    const SgdStep step{.lr = lr,
                       .momentum = config_.momentum,
                       .nesterov = config_.nesterov,
                       .first = steps_ == 1,
                       .ema_decay = inputs.ema_decay};
    kernel::sgd_step(values, gradients, first, rounded, averages, decay, inputs.scale, step);
  } else {
    const AdamStep step{.lr = lr,
                        .beta1 = config_.beta1,
                        .beta2 = config_.beta2,
                        .eps = config_.eps,
                        .decoupled = config_.kind == OptimizerKind::adamw,
                        .step = steps_,
                        .ema_decay = inputs.ema_decay};
    kernel::adam_step(values, gradients, first, second, rounded, averages, decay, inputs.scale, step);
  }
  for (size_t i = 0; i < values.size(); ++i)
    if (rounded[i].defined()) values[i].set_rounded_current();
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
      const Shape& shape = parameters_[i].var.shape();
      const ElementShare share =
          steps_share_of(i) ? ElementShare{shape, span_of(shape.numel(), ranks_.rank(), ranks_.size()).begin, true}
                            : detail::share_of(parameters_[i]);
      state.tensors.push_back({names[slot] + "." + parameters_[i].name, tensors[i], share});
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
