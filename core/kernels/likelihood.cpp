#include "core/kernels/likelihood.h"

#include "core/kernels/checks.h"

namespace sked {
namespace {

/// A tile (B,C,K).
void require_tile(const Tensor& a, const char* where) {
  require(a.defined() && a.ndim() == 3, where, "expected a tile (B, C, K), got ", a);
}

/// t is what lies beside a tile: in its dtype, but f32 where the tile is bf16.
void require_beside(const Tensor& a, const Tensor& t, const char* where) {
  require_master(a, t, where);
  require(t.dtype() != DType::bf16, where, "expected f32 beside a tile, got ", t);
}

/// t (B, at least `least`) beside the tile.
void require_wide(const Tensor& a, const Tensor& t, int64_t least, const char* what, const char* where) {
  require(t.defined() && t.ndim() == 2 && t.dim(0) == a.dim(0) && t.dim(1) >= least, where, "expected ", what, " (",
          a.dim(0), ", ", least, " or more), got ", t);
  require_beside(a, t, where);
}

/// t (all samples, all classes) beside the tile, with at least those that the tile has.
void require_columns(const Tensor& a, const Tensor& t, TileOrigin at, const char* what, const char* where) {
  const int64_t samples = at.sample + a.dim(1), classes = at.class_index + a.dim(2);
  require(t.defined() && t.ndim() == 2 && t.dim(0) >= samples && t.dim(1) >= classes, where, "expected ", what, " (",
          samples, " or more, ", classes, " or more), got ", t);
  require_beside(a, t, where);
}

void require_same(const Tensor& like, const Tensor& t, const char* what, const char* where) {
  require_shape(t, like.shape(), where, what);
  require_alike(t, like, where);
}

/// lse (B,S) of a tile's rows.
void require_lse(const Tensor& a, const Tensor& lse, TileOrigin at, const char* where) {
  require_wide(a, lse, at.sample + a.dim(1), "lse", where);
}

/// log_p (B,K of all classes).
void require_log_p(const Tensor& a, const Tensor& log_p, TileOrigin at, const char* where) {
  require_wide(a, log_p, at.class_index + a.dim(2), "log_p", where);
}

/// sums (K of all classes), or undefined.
void require_sums(const Tensor& a, const Tensor& sums, TileOrigin at, const char* where) {
  if (!sums.defined()) return;
  const int64_t classes = at.class_index + a.dim(2);
  require(sums.ndim() == 1 && sums.dim(0) >= classes, where, "expected sums of ", classes, " or more classes, got ",
          sums);
  require_beside(a, sums, where);
}

void check_noise_forward(const char* where, const Tensor& center, const Tensor& d, const Tensor& eps, const Tensor& v,
                         const Tensor& q, const Tensor& z, int64_t first) {
  require_tile(z, where);
  require_same(z, eps, "eps", where);
  if (q.defined()) require_same(z, q, "q", where);
  require_wide(z, center, first + z.dim(2), "center and d", where);
  require_same(center, d, "d", where);
  if (v.defined()) require_same(center, v, "v", where);
}

void check_noise_backward(const char* where, const Tensor& dz, const Tensor& eps, const Tensor& v, const Tensor& q,
                          const Tensor& dcenter, const Tensor& dd, const Tensor& dv, int64_t first) {
  require_tile(dz, where);
  require_same(dz, eps, "eps", where);
  require_wide(dz, dcenter, first + dz.dim(2), "gradients", where);
  require_same(dcenter, dd, "gradients", where);
  if (!v.defined()) return;
  require_same(dz, q, "q", where);
  require_same(dcenter, v, "v", where);
  require_same(dcenter, dv, "dv", where);
}

void check_label_forward(const char* where, const Tensor& a, const Tensor& labels, const Tensor& lse,
                         const Tensor& target_logit, TileOrigin at) {
  require_tile(a, where);
  require_lse(a, lse, at, where);
  if (!labels.defined()) return;
  require_indices(labels, a.dim(0), a, where, "labels");
  require_same(lse, target_logit, "target_logit", where);
}

void check_label_backward(const char* where, const Tensor& a, const Tensor& labels, const Tensor& lse,
                          const Tensor& weight, const Tensor& sums, TileOrigin at) {
  require_tile(a, where);
  require_indices(labels, a.dim(0), a, where, "labels");
  require_lse(a, lse, at, where);
  require_same(lse, weight, "weight", where);
  require_sums(a, sums, at, where);
}

void check_column_forward(const char* where, const Tensor& a, const Tensor& lse, TileOrigin at) {
  require_tile(a, where);
  require_columns(a, lse, at, "lse", where);
}

void check_pair_backward(const char* where, const Tensor& a, const Tensor& labels, const Tensor& lse,
                         const Tensor& weight, const Tensor& column_lse, const Tensor& column_weight,
                         const Tensor& sums, TileOrigin at) {
  check_label_backward(where, a, labels, lse, weight, sums, at);
  require_columns(a, column_lse, at, "column_lse", where);
  require_same(column_lse, column_weight, "column_weight", where);
}

void check_class_forward(const char* where, const Tensor& a, const Tensor& lse, const Tensor& log_p, ClassLog log,
                         TileOrigin at) {
  require_tile(a, where);
  require_log_p(a, log_p, at, where);
  if (log == ClassLog::softmax) require_lse(a, lse, at, where);
}

void check_soft_weights(const char* where, const Tensor& a, const Tensor& lse, const Tensor& log_p, const Tensor& share,
                        const Tensor& total, TileOrigin at) {
  require_tile(a, where);
  require_lse(a, lse, at, where);
  require_log_p(a, log_p, at, where);
  require_same(log_p, share, "share", where);
  require_same(lse, total, "total", where);
}

void check_soft_backward(const char* where, const Tensor& a, const Tensor& lse, const Tensor& log_p,
                         const Tensor& share, const Tensor& total, const Tensor& sums, TileOrigin at) {
  check_soft_weights(where, a, lse, log_p, share, total, at);
  require_sums(a, sums, at, where);
}

void check_sigmoid_backward(const char* where, const Tensor& a, const Tensor& log_p, const Tensor& log_not_p,
                            const Tensor& share, const Tensor& rest, const Tensor& sums, TileOrigin at) {
  require_tile(a, where);
  require_log_p(a, log_p, at, where);
  for (const Tensor* t : {&log_not_p, &share, &rest}) require_same(log_p, *t, "log_not_p, share and rest", where);
  require_sums(a, sums, at, where);
}

[[maybe_unused]] const bool registered =
    kernel::noise_forward.expect(check_noise_forward) && kernel::noise_backward.expect(check_noise_backward) &&
    kernel::label_tile_forward.expect(check_label_forward) &&
    kernel::label_tile_backward.expect(check_label_backward) &&
    kernel::column_tile_forward.expect(check_column_forward) &&
    kernel::pair_tile_backward.expect(check_pair_backward) && kernel::class_tile_forward.expect(check_class_forward) &&
    kernel::soft_tile_weights.expect(check_soft_weights) && kernel::soft_tile_backward.expect(check_soft_backward) &&
    kernel::sigmoid_tile_backward.expect(check_sigmoid_backward);

}  // namespace
}  // namespace sked
