#include "autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/kernels/elementwise.h"
#include "core/kernels/memory.h"

namespace sked::detail {

namespace {

std::atomic<uint64_t> steps_made{0};

/// The uses that these edges were are over.
void drop_uses(const std::vector<Edge>& inputs) {
  for (const Edge& edge : inputs)
    if (edge.leaf) --edge.leaf->uses;
}

/// What a dying step held. Dropping it may end further steps, which queue here instead of nesting their destructors.
struct Released {
  std::vector<Edge> inputs;
  std::function<Grads(const Tensor&, Gathered&)> backward;
};

void release_later(Released released) {
  thread_local std::vector<Released>* queue = nullptr;
  if (queue) return queue->push_back(std::move(released));
  std::vector<Released> pending;
  queue = &pending;
  pending.push_back(std::move(released));
  while (!pending.empty()) {
    const Released dropped = std::move(pending.back());
    pending.pop_back();
  }
  queue = nullptr;
}

/// Steps that have received a gradient, the youngest first. Should a rule throw, what is left loses its gradients.
class Queue {
 public:
  ~Queue() {
    for (const auto& step : heap_) step->dy = {};
  }
  bool empty() const { return heap_.empty(); }
  void push(std::shared_ptr<Step> step) {
    heap_.push_back(std::move(step));
    std::push_heap(heap_.begin(), heap_.end(), older);
  }
  std::shared_ptr<Step> pop() {
    std::pop_heap(heap_.begin(), heap_.end(), older);
    std::shared_ptr<Step> step = std::move(heap_.back());
    heap_.pop_back();
    return step;
  }

 private:
  static bool older(const std::shared_ptr<Step>& a, const std::shared_ptr<Step>& b) { return a->number < b->number; }
  std::vector<std::shared_ptr<Step>> heap_;
};

/// Where gradients gather that go along `edge`; null for one that leads nowhere.
Tensor* total_of(const Edge& edge) { return edge.leaf ? &edge.leaf->grad : (edge.step ? &edge.step->dy : nullptr); }

void check_gradient(const Tensor& dx, const Edge& edge, const Step& op, size_t input) {
  const Shape& shape = edge.leaf ? edge.leaf->value.shape() : edge.step->shape;
  const DType dtype = edge.leaf ? edge.leaf->value.dtype() : edge.step->dtype;
  const Device device = edge.leaf ? edge.leaf->value.device() : edge.step->device;
  const bool good = dx.defined() && dx.shape() == shape && dx.dtype() == dtype && dx.device() == device;
  require(good, "backward", "gradient of input ", input, " of the op at ", op.where.file_name(), ":", op.where.line(),
          " expected ", shape, " ", dtype, " on ", device, ", got ", dx);
}

/// Hands each gradient of `op` on to where its input came from. Those of `included` replace what they were added to.
void deliver(Grads& grads, const std::vector<Edge>& inputs, const std::vector<size_t>& included, const Step& op,
             Queue& queue) {
  require(grads.size() == inputs.size(), "backward", "the op at ", op.where.file_name(), ":", op.where.line(),
          " expected ", inputs.size(), " gradients, got ", grads.size());
  for (const size_t i : included) {
    check_gradient(grads[i], inputs[i], op, i);
    *total_of(inputs[i]) = std::exchange(grads[i], {});
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    Tensor dx = std::move(grads[i]);
    Tensor* const total = total_of(inputs[i]);
    if (!dx.defined() || !total) continue;
    check_gradient(dx, inputs[i], op, i);
    const bool first = !total->defined();
    accumulate(*total, std::move(dx));
    if (first && inputs[i].step) queue.push(inputs[i].step);
  }
}

/// The inputs of a step that runs: their uses end with it.
class InUse {
 public:
  explicit InUse(std::vector<Edge> inputs) : inputs_(std::move(inputs)) {}
  ~InUse() {
    if (!over_) drop_uses(inputs_);
  }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

  const std::vector<Edge>& inputs() const { return inputs_; }
  /// Tells the listener of leaves that have no other use and a gradient.
  void end() {
    drop_uses(inputs_);
    over_ = true;
    const auto* const listener = gradient_listener();
    if (listener == nullptr) return;
    std::vector<const Node*> told;
    for (const auto& [leaf, step] : inputs_) {
      if (!leaf || leaf->uses > 0 || !leaf->grad.defined() || std::ranges::find(told, leaf.get()) != told.end())
        continue;
      told.push_back(leaf.get());
      (*listener)(leaf->grad);
    }
  }

 private:
  const std::vector<Edge> inputs_;
  bool over_ = false;
};

}  // namespace

std::function<void(const Tensor&)>*& gradient_listener() {
  thread_local std::function<void(const Tensor&)>* listener = nullptr;
  return listener;
}

Step::Step(const Tensor& y, std::source_location where)
    : number(++steps_made), shape(y.shape()), dtype(y.dtype()), device(y.device()), where(where) {}

Step::~Step() {
  drop_uses(inputs);
  if (!inputs.empty() || backward) release_later({std::move(inputs), std::move(backward)});
}

void accumulate(Tensor& total, Tensor g) {
  if (!total.defined()) {
    total = std::move(g);
  } else if (total.unique()) {
    kernel::add_scaled(g, total, 1);
  } else if (g.unique()) {
    kernel::add_scaled(total, g, 1);
    total = std::move(g);
  } else {
    Tensor sum = Tensor::like(total);
    kernel::binary_forward(total, g, sum, Binary::add);
    total = std::move(sum);
  }
}

void sweep(const std::shared_ptr<Step>& last, const Tensor& cotangent) {
  const NoGrad off;
  Queue queue;
  last->dy = cotangent;
  queue.push(last);
  while (!queue.empty()) {
    const std::shared_ptr<Step> step = queue.pop();
    Tensor dy = std::move(step->dy);
    step->dy = {};
    require(step->backward != nullptr, "backward", "the tape was freed by an earlier backward() (op at ",
            step->where.file_name(), ":", step->where.line(), "); compute the value again");
    InUse used(std::move(step->inputs));
    Gathered gathered(used.inputs());
    Grads grads;
    {
      const auto rule = std::move(step->backward);
      step->backward = nullptr;
      grads = rule(dy, gathered);
    }
    // Nobody but the gradients just made may hold on to dy now: the next sum can then be taken in place.
    dy = {};
    deliver(grads, used.inputs(), gathered.included(), *step, queue);
    used.end();
  }
}

}  // namespace sked::detail

namespace sked {

Tensor Gathered::include(size_t i) {
  const Tensor* const total = detail::total_of(inputs_.at(i));
  if (!total || !total->defined()) return {};
  for (const size_t before : included_) {
    if (detail::total_of(inputs_[before]) == total) return {};
  }
  included_.push_back(i);
  return *total;
}

}  // namespace sked
