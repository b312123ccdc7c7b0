#include "autograd/recompute.h"

namespace sked {

namespace {

thread_local bool recomputing_now = false;

class Recomputing {
 public:
  Recomputing() : before_(recomputing_now) { recomputing_now = true; }
  ~Recomputing() { recomputing_now = before_; }
  Recomputing(const Recomputing&) = delete;
  Recomputing& operator=(const Recomputing&) = delete;

 private:
  bool before_;
};

}  // namespace

bool recomputing() { return recomputing_now; }

Var recompute(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Var>& inputs) {
  if (!NoGrad::recording()) return f(inputs);
  Tensor y;
  {
    const NoGrad off;
    y = f(inputs).value();
  }
  // Off the tape f's parameters cannot be seen. An anchor that wants a gradient keeps the block on the tape for their
  // sake, even where no input needs one.
  std::vector<Var> anchored = inputs;
  anchored.emplace_back(Tensor::empty(Shape{0}, y.dtype(), y.device()), true);

  // Saves the inputs' values and f.
  std::vector<Var> leaves;
  for (const Var& input : inputs) leaves.push_back(input.defined() ? Var(input.value(), input.requires_grad()) : Var());
  return record(y, anchored, [f, leaves](const Tensor& dy, Gathered& gathered) {
    // The leaves go on from what their inputs have: the same sums in the same order as without a recomputation.
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (Var leaf = leaves[i]; leaf.requires_grad()) leaf.mutable_grad() = gathered.include(i);
    }
    Var again;
    {
      const NoGrad on(false);
      const Recomputing flag;
      again = f(leaves);
    }
    if (again.requires_grad()) again.backward(dy);
    Grads grads;
    for (const Var& leaf : leaves) grads.push_back(leaf.grad());
    grads.emplace_back();
    return grads;
  });
}

}  // namespace sked
