#include "tests/layers/heads_common.h"

#include <algorithm>
#include <cmath>

#include "tests/common/hash_weights.h"

namespace sked::test {

void set_hash_parameters(Module& module) {
  for (NamedVar& p : module.parameters()) p.var.mutable_value().copy_from(hash_parameter(p.name, p.var.shape()));
}

double relative_error(const Tensor& got, const Tensor& want) {
  require_shape(got, want.shape(), "relative_error", "tensor");
  const std::vector<double> a = got.to_vector<double>(), b = want.to_vector<double>();
  double error = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i])) return a[i];
    error = std::max(error, std::abs(a[i] - b[i]));
    size = std::max(size, std::abs(b[i]));
  }
  return error == 0 ? 0 : error / size;
}

}  // namespace sked::test
