#pragma once
// Regularization by random omission, in training only. Each layer draws from a stream of its own (autograd/random.h).

#include "layers/module.h"

namespace sked {

/// Elements (Srivastava et al., JMLR 2014): y = x · keep / (1 − p).
class Dropout : public Module {
 public:
  /// 0 ≤ p < 1. Takes a stream whatever p is, so that p does not change the initial weights of what is built next.
  Dropout(Init& init, double p);
  Var forward(const Var& x, const Context& context) const;
  /// Does forward() leave anything out?
  bool drops(const Context& context) const { return context.training && p_ > 0; }

 private:
  double p_;
  uint64_t stream_;
};

/// Whole examples of a residual branch (stochastic depth, Huang et al., arXiv 1603.09382).
class DropPath : public Module {
 public:
  DropPath(Init& init, double p);
  Var forward(const Var& x, const Context& context) const;

 private:
  double p_;
  uint64_t stream_;
};

}  // namespace sked
