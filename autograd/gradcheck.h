#pragma once
// Gradients checked by central differences in float64 against a random cotangent. (Under a plain sum, the gradients of
// softmax and of layer norm vanish, and a backward without its main term would pass.)

#include <functional>
#include <string>

#include "autograd/var.h"

namespace sked {

struct GradcheckOptions {
  double step = 1e-5;       // of the central difference
  double tolerance = 1e-6;  // on |got − expected| / (1 + |expected|)
  uint64_t seed = 1;        // of the cotangent
};

struct GradcheckResult {
  bool ok = true;
  double worst = 0;     // largest error seen
  std::string message;  // names input, element, got, expected, tolerance when not ok
};

/// Compares every element of every input's gradient of <c, f(inputs)>, c standard normal. Inputs are f64 tensors.
GradcheckResult gradcheck(const std::function<Var(const std::vector<Var>&)>& f, const TensorList& inputs,
                          const GradcheckOptions& options = {});

}  // namespace sked
