#pragma once
// Var: a tensor that remembers how it was computed, so that gradients can be taken (define-by-run reverse mode).
//
// Threads: a tape, what was computed on it and the leaves it leads to belong to one thread at a time, backward() and
// the dropping of handles included. Threads may work side by side on Vars that share nothing but the values of leaves
// that need no gradient. NoGrad and recomputing() are each thread's own.

#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// One gradient per input of an op; undefined for an input that needs none.
using Grads = TensorList;

namespace detail {
struct Node;
struct Edge;
}  // namespace detail

/// What the backward pass under way has gathered, when an op's rule runs, for the op's inputs: gradients by younger ops
/// that used them too. A sum that a rule can take along in its own pass over memory costs no pass of its own then.
class Gathered {
 public:
  explicit Gathered(const std::vector<detail::Edge>& inputs) : inputs_(inputs) {}

  /// The gradient of input i so far, of its value's shape, dtype and device, to be read only. The rule must return its
  /// own gradient of i plus this one, which the tape then puts in this one's place. Undefined where nothing has come
  /// yet, where i needs no gradient, or where what i stands for was included before (an input passed twice).
  Tensor include(size_t i);
  /// The inputs for which include() gave something.
  const std::vector<size_t>& included() const { return included_; }

 private:
  const std::vector<detail::Edge>& inputs_;
  std::vector<size_t> included_;
};

/// A handle on a value and its place on the tape. Copies share value and gradient.
class Var {
 public:
  Var() = default;
  /// A leaf. With `requires_grad` it is a parameter or a checked input: backward() accumulates into grad().
  explicit Var(Tensor value, bool requires_grad = false);

  bool defined() const { return node_ != nullptr; }
  const Tensor& value() const;
  /// For optimizers and checkpoints: overwrite a leaf's elements. Never while a tape that read them is still needed.
  Tensor& mutable_value();
  /// The accumulated gradient of a leaf; undefined before the first backward().
  const Tensor& grad() const;
  Tensor& mutable_grad();
  /// Puts one in its place, of the value's shape, dtype and device.
  void set_grad(Tensor grad);
  void clear_grad();
  bool requires_grad() const;
  /// A leaf's switch: a frozen parameter gets no gradient.
  void set_requires_grad(bool on);

  const Shape& shape() const { return value().shape(); }
  int64_t dim(int axis) const { return value().dim(axis); }
  int ndim() const { return value().ndim(); }
  int64_t numel() const { return value().numel(); }
  DType dtype() const { return value().dtype(); }
  Device device() const { return value().device(); }

  /// Adds d(Σ cotangent ⊙ this)/d(leaf) to grad() of every leaf this was computed from, and frees the tape. Without an
  /// argument this must have one element, and the cotangent is 1. Leaves visited twice accumulate.
  void backward() const;
  void backward(const Tensor& cotangent) const;

  /// The same value off the tape: no gradient flows through.
  Var detach() const;

 private:
  friend Var record(Tensor, const std::vector<Var>&, std::function<Grads(const Tensor&, Gathered&)>,
                    std::source_location);
  std::shared_ptr<detail::Node> node_;
};

/// Which rows of the first axis a rank has of a parameter that is divided among ranks: [first, first + its own) of
/// `total`.
struct RowShard {
  int64_t first = 0, total = 0;  // total 0: nothing is divided, every rank has the whole
  bool divided() const { return total > 0; }
};

/// A parameter as modules, optimizers and checkpoints see it.
struct NamedVar {
  std::string name;
  Var var;
  RowShard shard = {};

  /// Of the whole parameter, all ranks' rows together.
  Shape whole_shape() const { return shard.divided() ? var.shape().with(0, shard.total) : var.shape(); }
};

/// State that is not trained (running statistics): a pointer into the module that owns it.
using NamedBuffer = std::pair<std::string, Tensor*>;

/// How an op puts its result on the tape. `backward` gets dL/dy and returns dL/d(input) for each of `inputs`, in order;
/// it captures what it needs (say what, beside it), and should skip inputs whose requires_grad() is false. Off the tape
/// (NoGrad, or no input requires a gradient) `backward` is dropped at once, and what it captured with it. An undefined
/// gradient counts as zero; one of another shape, dtype or device than its input's value is an error that names
/// `where`.
Var record(Tensor y, const std::vector<Var>& inputs, std::function<Grads(const Tensor& dy)> backward,
           std::source_location where = std::source_location::current());
/// The same for a rule that takes gradients gathered so far along.
Var record(Tensor y, const std::vector<Var>& inputs,
           std::function<Grads(const Tensor& dy, Gathered& gathered)> backward,
           std::source_location where = std::source_location::current());

/// While one lives on this thread, nothing is recorded.
class NoGrad {
 public:
  explicit NoGrad(bool on = true);
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;
  /// Is recording on?
  static bool recording();

 private:
  bool before_;
};

/// While one lives on this thread, f(grad) is called in backward passes for each leaf that requires a gradient, as soon
/// as it has the whole of it: no other op that read the leaf is still to be differentiated. `grad` is what Var::grad()
/// of the leaf refers to. A leaf that a recomputation reads again (recompute.h) may be told of more than once.
class OnGradient {
 public:
  explicit OnGradient(std::function<void(const Tensor& grad)> f);
  ~OnGradient();
  OnGradient(const OnGradient&) = delete;
  OnGradient& operator=(const OnGradient&) = delete;

 private:
  std::function<void(const Tensor&)> f_;
  std::function<void(const Tensor&)>* before_;
};

/// Sums `dy` down to `shape`: the one place where broadcasting is undone.
Tensor sum_to(const Tensor& dy, const Shape& shape);

}  // namespace sked
