#include "core/kernels/sizes.h"

#include <algorithm>

namespace sked {
namespace {

void require_window(const Window& window, const char* where) {
  require(window.kernel >= 1 && window.stride >= 1 && window.padding >= 0 && window.groups >= 1, where,
          "expected kernel, stride, groups >= 1 and padding >= 0, got kernel ", window.kernel, ", stride ",
          window.stride, ", padding ", window.padding, ", groups ", window.groups);
}

void require_bias(const Tensor& b, int64_t O, const Tensor& like, const char* where) {
  if (!b.defined()) return;
  require_shape(b, {O}, where, "bias");
  require_alike(like, b, where);
}

/// Do a and b agree in all axes but the last two?
bool same_batch(const Shape& a, const Shape& b) {
  return a.ndim() == b.ndim() && std::equal(a.begin(), a.end() - 2, b.begin());
}

}  // namespace

MatmulSizes matmul_sizes(const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a, bool transpose_b) {
  require_alike(a, b, "matmul");
  require_alike(a, c, "matmul");
  const Shape &sa = a.shape(), &sb = b.shape(), &sc = c.shape();
  const auto expect = [&](bool ok) {
    require(ok, "matmul", "expected a (…,M,Q), b (…,Q,N) or (Q,N), c (…,M,N), got a ", sa,
            transpose_a ? " transposed" : "", ", b ", sb, transpose_b ? " transposed" : "", ", c ", sc);
  };
  expect(sa.ndim() >= 2 && sb.ndim() >= 2 && sc.ndim() >= 2);
  const bool shared_b = sb.ndim() == 2 && sa.ndim() > 2;
  expect(same_batch(sa, sc) && (shared_b || same_batch(sa, sb)));
  MatmulSizes s{sa.product(0, sa.ndim() - 2), sc[-2], sc[-1], sa[transpose_a ? -2 : -1], shared_b};
  expect(sa[transpose_a ? -1 : -2] == s.M && sb[transpose_b ? -1 : -2] == s.Q && sb[transpose_b ? -2 : -1] == s.N);
  if (shared_b && !transpose_a) s = {1, s.batch * s.M, s.N, s.Q, shared_b};
  return s;
}

LinearSizes linear_sizes(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, const char* where) {
  require(x.ndim() == 2 && w.ndim() == 2 && x.dim(1) == w.dim(1), where, "expected x (N,I) and w (O,I), got x ", x,
          " and w ", w);
  require_shape(y, {x.dim(0), w.dim(0)}, where, "y");
  require_alike(x, w, where);
  require_alike(x, y, where);
  require_bias(b, w.dim(0), x, where);
  return {x.dim(0), x.dim(1), w.dim(0)};
}

ConvSizes conv_sizes(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, const Window& window,
                     const char* where) {
  require_window(window, where);
  require(x.ndim() == 4 && w.ndim() == 4, where, "expected x (N,H,W,I) and w (O,I/groups,kernel,kernel), got x ", x,
          " and w ", w);
  const int64_t I = x.dim(3), O = w.dim(0);
  require(I % window.groups == 0 && O % window.groups == 0, where, "expected channels divisible by groups ",
          window.groups, ", got x ", x, " and w ", w);
  require_shape(w, {O, I / window.groups, window.kernel, window.kernel}, where, "w");
  const ConvSizes s{x.dim(0), x.dim(1), x.dim(2), I, window.output(x.dim(1)), window.output(x.dim(2)), O};
  require_shape(y, {s.N, s.P, s.Q, O}, where, "y");
  require_alike(x, w, where);
  require_alike(x, y, where);
  require_bias(b, O, x, where);
  return s;
}

PoolSizes pool_sizes(const Tensor& x, const Tensor& y, const Tensor& which, const Window& window, const char* where) {
  require_window(window, where);
  require(window.kernel <= 15 && window.padding < window.kernel && window.groups == 1, where,
          "expected kernel <= 15, padding < kernel and one group, got kernel ", window.kernel, ", padding ",
          window.padding, ", groups ", window.groups);
  require(x.ndim() == 4, where, "expected x (N,H,W,C), got ", x);
  const PoolSizes s{x.dim(0), x.dim(1), x.dim(2), x.dim(3), window.output(x.dim(1)), window.output(x.dim(2))};
  require_shape(y, {s.N, s.P, s.Q, s.C}, where, "y");
  require_alike(x, y, where);
  if (which.defined()) {
    require_shape(which, y.shape(), where, "which");
    require(which.dtype() == DType::u8, where, "expected which in u8, got ", which.dtype());
  }
  return s;
}

AttentionSizes attention_sizes(const Tensor& qkv, const Tensor& y, const Tensor& lse, const char* where) {
  require(qkv.ndim() == 5 && qkv.dim(2) == 3, where, "expected qkv (N,T,3,H,E), got ", qkv);
  const AttentionSizes s{qkv.dim(0), qkv.dim(1), qkv.dim(3), qkv.dim(4)};
  require_shape(y, {s.N, s.T, s.H, s.E}, where, "y");
  require_shape(lse, {s.N, s.H, s.T}, where, "lse");
  require_alike(qkv, y, where);
  require_alike(qkv, lse, where);
  return s;
}

}  // namespace sked
