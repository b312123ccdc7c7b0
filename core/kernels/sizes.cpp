#include "core/kernels/sizes.h"

#include <algorithm>
#include <array>

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
  require_master(like, b, where);
}

/// Do a and b agree in all axes but the last two?
bool same_batch(const Shape& a, const Shape& b) {
  return a.ndim() == b.ndim() && std::equal(a.begin(), a.end() - 2, b.begin());
}

/// Indices (N) i64, where x is.
void require_indices(const Tensor& indices, int64_t N, const Tensor& x, const char* where, const char* what) {
  require_shape(indices, {N}, where, what);
  require(indices.dtype() == DType::i64 && indices.device() == x.device(), where, "expected ", what, " in i64 on ",
          x.device(), ", got ", indices);
}

}  // namespace

MatmulSizes matmul_sizes(const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a, bool transpose_b) {
  require_alike(a, b, "matmul");
  require_master(a, c, "matmul");
  const Shape &sa = a.shape(), &sb = b.shape(), &sc = c.shape();
  const auto expect = [&](bool ok) {
    require(ok, "matmul", "expected a (...,M,Q), b (...,Q,N) or (Q,N), c (...,M,N), got a ", sa,
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
  require_master(x, w, where);
  require_alike(x, y, where);
  require_bias(b, w.dim(0), x, where);
  return {x.dim(0), x.dim(1), w.dim(0)};
}

LinearSizes activation_sizes(const Tensor& dy, const Tensor& w, const Tensor& pre, const Tensor& dx, const Tensor& db,
                             const char* where) {
  const LinearSizes s = linear_sizes(dx, w, {}, dy, where);
  require_shape(pre, dx.shape(), where, "pre");
  require_alike(dx, pre, where);
  require_bias(db, s.I, dx, where);
  return s;
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
  require_master(x, w, where);
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
    require(which.dtype() == DType::u8 && which.device() == x.device(), where, "expected which in u8 on ", x.device(),
            ", got ", which);
  }
  return s;
}

AttentionSizes attention_sizes(const Tensor& qkv, const Tensor& y, const Tensor& lse, const char* where) {
  require(qkv.ndim() == 5 && qkv.dim(2) == 3, where, "expected qkv (N,T,3,H,E), got ", qkv);
  const AttentionSizes s{qkv.dim(0), qkv.dim(1), qkv.dim(3), qkv.dim(4)};
  require_shape(y, {s.N, s.T, s.H, s.E}, where, "y");
  require_shape(lse, {s.N, s.H, s.T}, where, "lse");
  require_alike(qkv, y, where);
  require_master(qkv, lse, where);
  return s;
}

// ---- normalization -------------------------------------------------------------------------------

BatchNormSizes::BatchNormSizes(const Tensor& x, std::initializer_list<const Tensor*> like_x,
                               std::initializer_list<const Tensor*> per_channel, const char* where) {
  require(x.ndim() >= 2, where, "expected x (...,C), got ", x);
  C = x.dim(-1);
  M = x.shape().product(0, x.ndim() - 1);
  for (const Tensor* t : like_x) {
    if (!t->defined()) continue;
    require_alike(x, *t, where);
    require_shape(*t, x.shape(), where, "a tensor like x");
  }
  for (const Tensor* t : per_channel) {
    if (!t->defined()) continue;
    require_master(x, *t, where);
    require_shape(*t, {C}, where, "a tensor of channels");
  }
}

LayerNormSizes::LayerNormSizes(const Tensor& x, const Tensor& like_x, const Tensor& gamma, const Tensor& other,
                               const Tensor& mean, const Tensor& rstd, const char* where) {
  require(x.ndim() == 2 && x.dim(1) >= 1, where, "expected x (N,D) with D >= 1, got ", x);
  N = x.dim(0);
  D = x.dim(1);
  require_shape(like_x, x.shape(), where, "a tensor like x");
  require_alike(x, like_x, where);
  for (const Tensor* t : {&mean, &rstd}) require_shape(*t, {N}, where, "a tensor of rows");
  for (const Tensor* t : {&gamma, &other})
    if (t->defined()) require_shape(*t, {D}, where, "a tensor of width D");
  for (const Tensor* t : {&mean, &rstd, &gamma, &other})
    if (t->defined()) require_master(x, *t, where);
}

LayerNormSizes layer_norm_backward_sizes(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                         const Tensor& rstd, const Tensor& residual, const Tensor& dx,
                                         const Tensor& dgamma, const Tensor& dbeta, const char* where) {
  LayerNormSizes(x, dy, gamma, dgamma, mean, rstd, where);
  if (residual.defined()) LayerNormSizes(x, residual, gamma, dbeta, mean, rstd, where);
  return {x, dx, gamma, dbeta, mean, rstd, where};
}

L2NormalizeSizes l2_normalize_sizes(const Tensor& x, const Tensor& y, const Tensor& r, const char* where) {
  require(x.ndim() == 2 && x.dim(1) >= 1, where, "expected rows (N,D) with D >= 1, got ", x);
  require_shape(y, x.shape(), where, "a tensor of the rows' shape");
  require_alike(x, y, where);
  require_shape(r, {x.dim(0)}, where, "r");
  require_master(x, r, where);
  return {x.dim(0), x.dim(1)};
}

GroupNormSizes::GroupNormSizes(const Tensor& x, std::initializer_list<const Tensor*> like_x,
                               std::initializer_list<const Tensor*> per_channel,
                               std::initializer_list<const Tensor*> per_group, int64_t groups, const char* where)
    : groups(groups) {
  require(x.ndim() == 3 && groups >= 1 && x.dim(2) >= 1 && x.dim(2) % groups == 0 && x.dim(1) >= 1, where,
          "expected x (N,P,C) with P >= 1 and C divisible by groups, got ", x, " and ", groups, " groups");
  N = x.dim(0), P = x.dim(1), C = x.dim(2), width = C / groups;
  for (const Tensor* t : like_x) {
    require_shape(*t, x.shape(), where, "a tensor like x");
    require_alike(x, *t, where);
  }
  const auto check = [&](const Tensor* t, const Shape& shape, const char* what) {
    require_shape(*t, shape, where, what);
    require_master(x, *t, where);
  };
  for (const Tensor* t : per_channel) check(t, {C}, "a tensor of channels");
  for (const Tensor* t : per_group) check(t, {N, groups}, "a tensor of groups");
}

// ---- softmax and reductions ----------------------------------------------------------------------

RowSizes::RowSizes(const Tensor& x, std::initializer_list<const Tensor*> others, const char* where) {
  require(x.ndim() >= 1, where, "expected at least one axis, got ", x);
  for (const Tensor* t : others) {
    require_shape(*t, x.shape(), where, "a tensor like x");
    require_alike(x, *t, where);
  }
  K = x.dim(-1);
  N = x.shape().product(0, x.ndim() - 1);
}

RowSizes cross_entropy_sizes(const Tensor& x, const Tensor& labels, std::initializer_list<const Tensor*> per_row,
                             const char* where) {
  require(x.ndim() == 2, where, "expected x (N,K), got ", x);
  const RowSizes s(x, {}, where);
  require_indices(labels, s.N, x, where, "labels");
  for (const Tensor* t : per_row) {
    require_shape(*t, {s.N}, where, "a tensor of rows");
    require_master(x, *t, where);
  }
  return s;
}

void check_view(const Tensor& x, const Tensor& y, ReduceView view, const char* where) {
  const Shape shape{view.outer, view.n, view.inner};
  require(x.defined() && shape.numel() == x.numel(), where, "expected x to hold ", shape, ", got ", x);
  const int64_t outputs = view.outer * view.inner;
  require(y.defined() && y.numel() == outputs, where, "expected ", outputs, " outputs, got ", y);
}

// ---- rearranging and indexing --------------------------------------------------------------------

void check_permute(const Tensor& x, const Tensor& y, const std::vector<int>& perm) {
  require_alike(x, y, "permute");
  require(static_cast<int>(perm.size()) == x.ndim(), "permute", "expected ", x.ndim(), " axes for ", x, ", got ",
          perm.size());
  std::array<bool, Shape::kMaxDims> seen{};
  std::array<int64_t, Shape::kMaxDims> extents{};
  for (size_t i = 0; i < perm.size(); ++i) {
    const bool fresh = perm[i] >= 0 && perm[i] < x.ndim() && !seen[static_cast<size_t>(perm[i])];
    require(fresh, "permute", "expected each axis of ", x, " once, got ", perm[i], " at position ", i);
    seen[static_cast<size_t>(perm[i])] = true;
    extents[i] = x.dim(perm[i]);
  }
  require_shape(y, Shape(std::span<const int64_t>(extents.data(), perm.size())), "permute", "y");
}

int check_slice(const Tensor& whole, const Tensor& part, int axis, int64_t start, const char* where) {
  require_alike(whole, part, where);
  axis = whole.shape().axis(axis);
  require(part.ndim() == whole.ndim(), where, "expected ", whole.ndim(), " axes, got ", part);
  require_shape(part, whole.shape().with(axis, part.dim(axis)), where, "slice");
  const bool inside = start >= 0 && start <= whole.dim(axis) && part.dim(axis) <= whole.dim(axis) - start;
  require(inside, where, "expected a range of axis ", axis, " of ", whole, ", got ", start, " + ", part.dim(axis));
  return axis;
}

void check_rows(const Tensor& table, const Tensor& ids, const Tensor& rows, const char* where) {
  require_alike(table, rows, where);
  require(table.ndim() == 2, where, "expected a table (V, D), got ", table);
  require(rows.ndim() == 2 && rows.dim(1) == table.dim(1), where, "expected rows (N, ", table.dim(1), "), got ", rows);
  require_indices(ids, rows.dim(0), table, where, "indices");
}

void check_pick(const Tensor& x, const Tensor& index, const Tensor& picked, const char* where) {
  require_alike(x, picked, where);
  require(x.ndim() == 3, where, "expected (N, S, K), got ", x);
  require_shape(picked, {x.dim(0), x.dim(1)}, where, "picked");
  require_indices(index, x.dim(0), x, where, "indices");
}

// ---- the rest ------------------------------------------------------------------------------------

int64_t check_look_up(const Tensor& x, const Tensor& table, const Tensor& y) {
  const char* where = "look_up";
  require(x.defined() && x.dtype() == DType::u8 && x.ndim() >= 1, where, "expected x (...,C) u8, got ", x);
  const bool fits = table.defined() && table.ndim() == 2 && table.dim(0) == 256 &&
                    (table.dim(1) == 1 || table.dim(1) == x.dim(-1)) && table.device() == x.device();
  require(fits, where, "expected a table of 256 rows, of 1 or ", x.dim(-1), " numbers, beside ", x, ", got ", table);
  require_shape(y, x.shape(), where, "y");
  require_master(y, table, where);
  return table.dim(1);
}

void check_parallel(const TensorList& parameters, const TensorList& other, const char* where, const char* what) {
  require(other.size() == parameters.size(), where, "expected ", parameters.size(), " tensors of ", what, ", got ",
          other.size());
  for (size_t i = 0; i < other.size(); ++i) {
    require_alike(parameters[i], other[i], where);
    require_shape(other[i], parameters[i].shape(), where, what);
  }
}

void check_rounded(const TensorList& parameters, const TensorList& rounded, const char* where) {
  if (rounded.empty()) return;
  require(rounded.size() == parameters.size(), where, "expected ", parameters.size(), " rounded tensors or none, got ",
          rounded.size());
  for (size_t i = 0; i < rounded.size(); ++i) {
    if (!rounded[i].defined()) continue;
    require_shape(rounded[i], parameters[i].shape(), where, "rounded");
    require(rounded[i].dtype() == DType::bf16 && parameters[i].dtype() == DType::f32 &&
                rounded[i].device() == parameters[i].device(),
            where, "expected bf16 beside f32, got ", rounded[i], " beside ", parameters[i]);
  }
}

void check_binary(const Tensor& a, const Tensor& b, const Tensor& y, const char* where) {
  require_alike(a, b, where);
  require_alike(a, y, where);
  require_shape(y, broadcast(a.shape(), b.shape()), where, "y");
}

void check_noise(const Tensor& examples, const Tensor& noise, const NoiseOrigin& origin) {
  const char* where = "gaussian_noise";
  require(noise.defined() && noise.ndim() == 3, where, "expected noise (B, S, J), got ", noise);
  require_indices(examples, noise.dim(0), noise, where, "examples");
  require(origin.coordinate % 4 == 0, where, "expected a first coordinate that is a multiple of 4, got ",
          origin.coordinate);
  require(!origin.antithetic || origin.sample % 2 == 0, where,
          "expected an even first sample of antithetic pairs, got ", origin.sample);
  constexpr int64_t kWords = int64_t{1} << 32;
  const int64_t share = origin.antithetic ? 2 : 1, first = origin.sample / share, block = origin.coordinate / 4;
  require(origin.sample >= 0 && (noise.dim(1) + share - 1) / share <= kWords - first, where,
          "expected samples in 0 to 2^32 − 1, got ", noise.dim(1), " from ", origin.sample);
  require(block >= 0 && (noise.dim(2) + 3) / 4 <= kWords - block, where, "expected coordinates in 0 to 2^34 − 1, got ",
          noise.dim(2), " from ", origin.coordinate);
}

}  // namespace sked
