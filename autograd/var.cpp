#include "autograd/var.h"

#include "autograd/support.h"
#include "autograd/tape.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/memory.h"

namespace sked {

using detail::Node;
using detail::Step;

namespace {

thread_local bool recording_on = true;

const Tensor undefined_tensor;

}  // namespace

// ---- Var -----------------------------------------------------------------------------------------

Var::Var(Tensor value, bool requires_grad) : node_(std::make_shared<Node>()) {
  require(value.defined(), "var", "expected a defined tensor, got ", value);
  require(!requires_grad || is_floating(value.dtype()), "var", "expected a floating dtype to differentiate, got ",
          value);
  node_->value = std::move(value);
  node_->requires_grad = requires_grad;
}

const Tensor& Var::value() const {
  require(defined(), "var", "expected a defined Var, got an undefined one");
  return node_->value;
}

Tensor& Var::mutable_value() {
  require(defined() && !node_->step, "var", "expected a leaf to overwrite, got ", defined() ? "a result" : "undefined");
  return node_->value;
}

const Tensor& Var::grad() const { return defined() ? node_->grad : undefined_tensor; }

Tensor& Var::mutable_grad() {
  require(defined(), "var", "expected a defined Var, got an undefined one");
  // Two leaves may have been handed one gradient (the operands of a sum): whoever writes gets a copy.
  if (node_->grad.defined() && !node_->grad.unique()) node_->grad = node_->grad.clone();
  return node_->grad;
}

void Var::set_grad(Tensor grad) {
  require_shape(grad, shape(), "var", "gradient");
  require_alike(grad, value(), "var");
  node_->grad = std::move(grad);
}

void Var::clear_grad() {
  if (defined()) node_->grad = {};
}

bool Var::requires_grad() const { return defined() && (node_->requires_grad || node_->step); }

void Var::set_requires_grad(bool on) {
  require(defined() && !node_->step, "var", "expected a leaf to ", on ? "train" : "freeze", ", got ",
          defined() ? "a result" : "undefined");
  require(!on || is_floating(node_->value.dtype()), "var", "expected a floating dtype to differentiate, got ",
          node_->value);
  node_->requires_grad = on;
}

void Var::backward() const {
  require(numel() == 1, "backward", "expected one element or a cotangent, got ", value());
  backward(Tensor::full(shape(), 1, dtype(), device()));
}

void Var::backward(const Tensor& cotangent) const {
  require_shape(cotangent, shape(), "backward", "cotangent");
  require_alike(cotangent, value(), "backward");
  require(requires_grad(), "backward", "nothing this was computed from requires a gradient (or under NoGrad), got ",
          value());
  if (node_->step) return detail::sweep(node_->step, cotangent);
  detail::accumulate(node_->grad, cotangent);
}

Var Var::detach() const { return Var(value()); }

// ---- Recording -----------------------------------------------------------------------------------

Var record(Tensor y, const std::vector<Var>& inputs, std::function<Grads(const Tensor& dy)> backward,
           std::source_location where) {
  return record(
      std::move(y), inputs, [backward = std::move(backward)](const Tensor& dy, Gathered&) { return backward(dy); },
      where);
}

Var record(Tensor y, const std::vector<Var>& inputs,
           std::function<Grads(const Tensor& dy, Gathered& gathered)> backward, std::source_location where) {
  Var result(std::move(y));
  if (!detail::on_tape(inputs)) return result;
  auto step = std::make_shared<Step>(result.value(), where);
  step->backward = std::move(backward);
  step->inputs.reserve(inputs.size());
  for (const Var& input : inputs) {
    const bool needed = input.requires_grad();
    if (needed && !input.node_->step) ++input.node_->uses;
    step->inputs.push_back(needed && !input.node_->step ? detail::Edge{input.node_, nullptr}
                           : needed                     ? detail::Edge{nullptr, input.node_->step}
                                                        : detail::Edge{});
  }
  result.node_->step = std::move(step);
  return result;
}

NoGrad::NoGrad(bool on) : before_(recording_on) { recording_on = !on; }
NoGrad::~NoGrad() { recording_on = before_; }
bool NoGrad::recording() { return recording_on; }

OnGradient::OnGradient(std::function<void(const Tensor& grad)> f)
    : f_(std::move(f)), before_(std::exchange(detail::gradient_listener(), &f_)) {}
OnGradient::~OnGradient() { detail::gradient_listener() = before_; }

// ---- Broadcasting undone -------------------------------------------------------------------------

Tensor sum_to(const Tensor& dy, const Shape& shape) {
  if (dy.shape() == shape) return dy;
  require(broadcast(shape, dy.shape()) == dy.shape(), "sum_to", "expected a shape that broadcasts to ", dy.shape(),
          ", got ", shape);
  const int added = dy.ndim() - shape.ndim();
  const auto repeated = [&](int axis) { return axis < added || (shape[axis - added] == 1 && dy.dim(axis) != 1); };
  // Each run of neighboring repeated axes is one pass, the last run first: it leaves the least for the others.
  Tensor sum = dy;
  int end = dy.ndim();
  while (end > 0) {
    int begin = end - 1;
    while (begin > 0 && repeated(begin - 1) == repeated(end - 1)) --begin;
    if (repeated(begin)) {
      const int64_t outer = dy.shape().product(0, begin), inner = sum.shape().product(end, sum.ndim());
      Shape kept = sum.shape();
      for (int axis = begin; axis < end; ++axis) kept = kept.with(axis, 1);
      Tensor next = detail::empty(kept, dy);
      kernel::reduce_forward(sum, next, Reduce::sum, ReduceView{outer, dy.shape().product(begin, end), inner});
      sum = std::move(next);
    }
    end = begin;
  }
  return sum.reshape(shape);
}

}  // namespace sked
