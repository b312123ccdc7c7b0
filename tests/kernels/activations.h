#pragma once
// The textbook's activations, in double.

#include "core/kernels/elementwise.h"

namespace sked::test {

/// act(z) and act'(z).
double value(Activation act, double z);
double slope(Activation act, double z);

}  // namespace sked::test
