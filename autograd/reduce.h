#pragma once
// Reductions over one axis or all of them. Negative axes count from the end; keep_dims leaves an extent of 1.

#include "autograd/var.h"

namespace sked {

/// Σ over every element: shape (). dx = dy everywhere.
Var sum(const Var& x);
Var mean(const Var& x);
/// Σ over one axis: dx = dy broadcast back.
Var sum(const Var& x, int axis, bool keep_dims = false);
Var mean(const Var& x, int axis, bool keep_dims = false);
/// Largest along an axis; ties share the gradient equally. Saves x and y.
Var max(const Var& x, int axis, bool keep_dims = false);
/// log Σ exp along an axis, stable. dx = dy exp(x − y). Saves x and y.
Var logsumexp(const Var& x, int axis, bool keep_dims = false);
/// log of the mean of exp along an axis: logsumexp − log n. The log-domain average of METHOD.md, "Likelihood".
Var logmeanexp(const Var& x, int axis, bool keep_dims = false);

}  // namespace sked
