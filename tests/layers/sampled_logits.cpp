#include "tests/layers/sampled_logits.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/l2_normalize.h"
#include "autograd/matmul.h"
#include "autograd/shape.h"
#include "core/kernels/random.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

const RngAddress kFactors{3, 1, 8}, kDiagonal{3, 2, 8};

}  // namespace

TensorList values(const Problem& p) {
  const int64_t J = p.coordinates();
  const Tensor none;
  return {hash_tensor({p.B, J}, 1, p.size),
          p.noise ? hash_tensor({p.B, J}, 2, 0.25F, 0.5F) : none,
          p.R > 0 && !p.full ? hash_tensor({p.B, J}, 3) : none,
          p.R == 0 ? none
          : p.full ? hash_tensor({p.B, J, p.R}, 4)
                   : hash_tensor({J, p.R}, 4),
          p.classifier ? hash_tensor({p.K, p.D}, 5) : none,
          p.classifier && p.bias ? hash_tensor({p.K}, 6) : none};
}

std::vector<Var> leaves(const TensorList& values) {
  std::vector<Var> list;
  for (const Tensor& t : values) list.push_back(t.defined() ? Var(t, true) : Var());
  return list;
}

SampledLogits logits_of(const Problem& p, const std::vector<Var>& x, int64_t first_row) {
  Tensor examples = Tensor::empty({x[0].dim(0)}, DType::i64);
  for (int64_t b = 0; b < examples.numel(); ++b) examples.data<int64_t>()[b] = 7 * (first_row + b);
  return {.center = x[0],
          .d = x[1],
          .v = x[2],
          .factors = x[3],
          .weight = x[4],
          .bias = x[5],
          .noise = {examples, kFactors, kDiagonal, p.antithetic},
          .samples = p.S,
          .normalize = p.normalize};
}

Var composed_rows(const SampledLogits& a) {
  const int64_t B = a.center.dim(0), J = a.center.dim(1);
  const auto normal = [&](const RngAddress& address, int64_t n) {
    Tensor noise = Tensor::empty({B, a.samples, n}, a.center.dtype());
    kernel::gaussian_noise(a.noise.examples, noise, address, {0, 0, a.noise.antithetic});
    return Var(noise);
  };
  const auto every_sample = [&](const Var& x) { return reshape(x, {B, 1, J}); };
  Var z = every_sample(a.center);
  if (a.d.defined()) z = z + every_sample(a.d) * normal(a.noise.diagonal, J);
  if (a.factors.defined()) {
    const Var eps = normal(a.noise.factors, a.factors.dim(-1));
    z = z + (a.v.defined() ? every_sample(a.v) * linear(eps, a.factors) : matmul(eps, a.factors, false, true));
  }
  return a.normalize ? l2_normalize(z) : z;
}

Var composed_logits(const SampledLogits& a) {
  const Var z = composed_rows(a);
  return a.weight.defined() ? linear(z, a.weight, a.bias) : z;
}

Result run(const std::vector<Var>& x, const Var& loss) {
  loss.backward();
  Result result{loss.value().item(), {}};
  for (const Var& v : x) result.gradients.push_back(v.defined() ? v.grad() : Tensor());
  return result;
}

void check_same(const Result& got, const Result& want, double tolerance, size_t loose, double loose_tolerance) {
  CHECK(std::abs(got.loss - want.loss) <= tolerance * std::max(1.0, std::abs(want.loss)));
  for (size_t i = 0; i < want.gradients.size(); ++i) {
    CAPTURE(i);
    if (want.gradients[i].defined())
      CHECK(relative_error(got.gradients[i], want.gradients[i]) <= (i == loose ? loose_tolerance : tolerance));
  }
}

}  // namespace sked::test
