#include "core/kernels/matmul.h"

#include <algorithm>

#include "core/kernels/checks.h"

namespace sked {

MatmulSizes matmul_sizes(const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a) {
  const bool shared_b = b.ndim() == 2 && a.ndim() > 2;
  const MatmulSizes s{a.shape().product(0, a.ndim() - 2), c.dim(-2), c.dim(-1), a.dim(transpose_a ? -2 : -1), shared_b};
  if (shared_b && !transpose_a) return {1, s.batch * s.M, s.N, s.Q, shared_b};
  return s;
}

namespace {

/// Do a and b agree in all axes but the last two?
bool same_batch(const Shape& a, const Shape& b) {
  return a.ndim() == b.ndim() && std::equal(a.begin(), a.end() - 2, b.begin());
}

void check_matmul(const char* where, const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a,
                  bool transpose_b, bool) {
  require_alike(a, b, where);
  require_master(a, c, where);
  const Shape &sa = a.shape(), &sb = b.shape(), &sc = c.shape();
  const auto expect = [&](bool ok) {
    require(ok, where, "expected a (...,M,Q), b (...,Q,N) or (Q,N), c (...,M,N), got a ", sa,
            transpose_a ? " transposed" : "", ", b ", sb, transpose_b ? " transposed" : "", ", c ", sc);
  };
  expect(sa.ndim() >= 2 && sb.ndim() >= 2 && sc.ndim() >= 2);
  expect(same_batch(sa, sc) && ((sb.ndim() == 2 && sa.ndim() > 2) || same_batch(sa, sb)));
  const int64_t M = sc[-2], N = sc[-1], Q = sa[transpose_a ? -2 : -1];
  expect(sa[transpose_a ? -1 : -2] == M && sb[transpose_b ? -1 : -2] == Q && sb[transpose_b ? -2 : -1] == N);
}

/// x (N,I), w (O,I), y (N,O), b (O) or undefined.
void require_linear(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, const char* where) {
  require(x.ndim() == 2 && w.ndim() == 2 && x.dim(1) == w.dim(1), where, "expected x (N,I) and w (O,I), got x ", x,
          " and w ", w);
  require_shape(y, {x.dim(0), w.dim(0)}, where, "y");
  require_master(x, w, where);
  require_alike(x, y, where);
  require_bias(b, w.dim(0), x, where);
}

void check_forward(const char* where, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y,
                   const Tensor& pre, Activation act) {
  require_linear(x, w, b, y, where);
  if (act == Activation::none || !pre.defined()) return;
  require_shape(pre, y.shape(), where, "pre");
  require_alike(y, pre, where);
}

void check_backward_input(const char* where, const Tensor& dy, const Tensor& w, const Tensor& dx) {
  require_linear(dx, w, {}, dy, where);
}

void check_backward_activation(const char* where, const Tensor& dy, const Tensor& w, const Tensor& pre,
                               const Tensor& dx, const Tensor& db, Activation act) {
  require(act != Activation::none, where, "expected an activation, got none");
  require_linear(dx, w, {}, dy, where);
  require_shape(pre, dx.shape(), where, "pre");
  require_alike(dx, pre, where);
  require_bias(db, dx.dim(1), dx, where);
}

void check_backward_weight(const char* where, const Tensor& dy, const Tensor& x, const Tensor& dw, const Tensor& db) {
  require_linear(x, dw, db, dy, where);
}

int64_t matmul_operations(const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a, bool, bool) {
  const MatmulSizes s = matmul_sizes(a, b, c, transpose_a);
  return 2 * s.batch * s.M * s.N * s.Q;
}

/// x (N,I), w (O,I).
int64_t linear_operations(const Tensor& x, const Tensor& w) {
  const auto [N, I, O] = linear_sizes(x, w);
  return 2 * N * I * O;
}

[[maybe_unused]] const bool counted =
    kernel::matmul.costs(matmul_operations) &&
    kernel::linear_forward.costs([](const Tensor& x, const Tensor& w, const Tensor&, const Tensor&, const Tensor&,
                                    Activation) { return linear_operations(x, w); }) &&
    kernel::linear_backward_input.costs(
        [](const Tensor&, const Tensor& w, const Tensor& dx) { return linear_operations(dx, w); }) &&
    kernel::linear_backward_activation.costs([](const Tensor&, const Tensor& w, const Tensor&, const Tensor& dx,
                                                const Tensor&, Activation) { return linear_operations(dx, w); }) &&
    kernel::linear_backward_weight.costs(
        [](const Tensor&, const Tensor& x, const Tensor& dw, const Tensor&) { return linear_operations(x, dw); });

[[maybe_unused]] const bool registered = kernel::matmul.expect(check_matmul) &&
                                         kernel::linear_forward.expect(check_forward) &&
                                         kernel::linear_backward_input.expect(check_backward_input) &&
                                         kernel::linear_backward_activation.expect(check_backward_activation) &&
                                         kernel::linear_backward_weight.expect(check_backward_weight);

}  // namespace
}  // namespace sked
