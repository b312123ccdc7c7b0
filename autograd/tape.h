#pragma once
// The tape behind Var. A value (Node) and how it was computed (Step) live apart: an intermediate value is freed with
// its last handle, unless a gradient rule has saved it, while its Step waits for the backward pass.

#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <vector>

#include "autograd/var.h"
#include "core/tensor.h"

namespace sked::detail {

struct Step;

/// What a Var points at. A leaf has no step; a result's requires_grad is said by its step.
struct Node {
  Tensor value;
  Tensor grad;  // of a leaf
  bool requires_grad = false;
  int64_t uses = 0;  // of a leaf that requires a gradient: by steps that have not run and are not dropped
  std::shared_ptr<Step> step;
};

/// Where the gradient of one input goes: to a leaf's grad, to the step that made it, or nowhere.
struct Edge {
  std::shared_ptr<Node> leaf;
  std::shared_ptr<Step> step;
};

/// One op on the tape.
struct Step {
  Step(const Tensor& y, std::source_location where);
  /// Releases what it holds without recursion, however long the chain behind it.
  ~Step();
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  const uint64_t number;  // in order of creation, so inputs have smaller ones than their results
  const Shape shape;      // of the result: what its gradient must look like
  const DType dtype;
  const Device device;
  const std::source_location where;
  std::vector<Edge> inputs;
  std::function<Grads(const Tensor&, Gathered&)> backward;  // empty once it has run
  Tensor dy;                                                // gathered so far by the sweep under way
};

/// total += g. `total` is overwritten in place only when nobody else sees its storage; g may be kept.
void accumulate(Tensor& total, Tensor g);

/// This thread's OnGradient, or null.
std::function<void(const Tensor&)>*& gradient_listener();

/// The backward pass from `last`: runs each step once all that its result went into have run, and frees it.
void sweep(const std::shared_ptr<Step>& last, const Tensor& cotangent);

}  // namespace sked::detail
