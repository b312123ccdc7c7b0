#include "core/kernels/likelihood.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cpu/parallel.h"
#include "core/cpu/rows.h"
#include "core/cpu/softmax_rows.h"
#include "core/kernels/memory.h"

namespace sked::cpu {
namespace {

/// Columns worked on side by side where sums run over samples.
constexpr int64_t kColumns = 64;

/// The extents of a tile (B,C,K).
struct Extents {
  int64_t B, C, K;

  Extents(int64_t B, int64_t C, int64_t K) : B(B), C(C), K(K) {}
  explicit Extents(const Tensor& a) : Extents(a.dim(0), a.dim(1), a.dim(2)) {}
  int64_t elements() const { return B * C * K; }
};

/// NaN where either is: comparisons with it are false, so that it ends up in `high` or in `low`, and both are in the
/// result.
template <class T>
T log_add_exp(T a, T b) {
  const T high = a > b ? a : b, low = a > b ? b : a;
  return high == -std::numeric_limits<T>::infinity() ? low : high + math::log1p(math::exp(low - high));
}

template <class T>
T log_sigmoid(T x) {
  return -math::softplus(-x);
}

/// f(b, s, row) for every row of K elements of a tile, in parallel.
template <class T, class F>
void for_each_row(const Extents& e, T* a, F&& f) {
#pragma omp parallel for collapse(2) schedule(static) if (e.elements() > kHeavy)
  for (int64_t b = 0; b < e.B; ++b)
    for (int64_t s = 0; s < e.C; ++s) f(b, s, a + (b * e.C + s) * e.K);
}

/// f(b, begin, end) for blocks of columns of each example, in parallel.
template <class F>
void for_each_columns(const Extents& e, F&& f) {
  const int64_t blocks = (e.K + kColumns - 1) / kColumns;
#pragma omp parallel for collapse(2) schedule(static) if (e.elements() > kHeavy)
  for (int64_t b = 0; b < e.B; ++b)
    for (int64_t block = 0; block < blocks; ++block) f(b, block * kColumns, std::min(e.K, (block + 1) * kColumns));
}

/// f(b, s, row) turns every row of a tile into a gradient; sums[k] += Σ over the rows, unless undefined, while a row is
/// at hand.
template <class T, class F>
void differentiate_rows(const Extents& e, T* a, Tensor& sums, TileOrigin at, F&& f) {
  using A = Arithmetic<T>;
  if (!sums.defined()) return for_each_row(e, a, f);
  Tensor tile = Tensor::empty({e.K}, dtype_of<A>), place = sums.rows(at.class_index, at.class_index + e.K);
  const auto add = [&](int64_t begin, int64_t end, A* partial) {
    for (int64_t i = begin; i < end; ++i) {
      T* row = a + i * e.K;
      f(i / e.C, i % e.C, row);
#pragma omp simd
      for (int64_t k = 0; k < e.K; ++k) partial[k] += A(row[k]);
    }
  };
  sum_over_rows(e.B * e.C, e.K, tile.data<A>(), add, e.elements() > kHeavy);
  kernel::add_scaled(tile, place, 1);
}

// ---- noisy rows ----------------------------------------------------------------------------------

void noise_forward(const Tensor& center, const Tensor& d, const Tensor& eps, const Tensor& v, const Tensor& q,
                   Tensor& z, int64_t first) {
  const Extents e(z);
  const int64_t J = center.dim(1);
  visit_float(z.dtype(), "noise_forward", [&](auto type) {
    using T = decltype(type);
    const T *c = center.data<T>() + first, *dd = d.data<T>() + first, *n = eps.data<T>();
    const T *vv = v.defined() ? v.data<T>() + first : nullptr, *qq = q.defined() ? q.data<T>() : nullptr;
    T* out = z.data<T>();
    for_each_row(e, out, [&](int64_t b, int64_t, T* row) {
      const int64_t at = row - out;
      const T *cb = c + b * J, *db = dd + b * J, *nr = n + at;
#pragma omp simd
      for (int64_t j = 0; j < e.K; ++j) row[j] = cb[j] + db[j] * nr[j];
      if (!qq) return;
      const T *vb = vv ? vv + b * J : nullptr, *qr = qq + at;
#pragma omp simd
      for (int64_t j = 0; j < e.K; ++j) row[j] += vb ? vb[j] * qr[j] : qr[j];
    });
  });
}

/// The sums over samples of noise_backward for one example and some columns.
template <class T>
struct NoiseSums {
  double dz[kColumns] = {}, dz_eps[kColumns] = {}, dz_q[kColumns] = {};

  void add(const T* g, const T* eps, const T* q, int64_t n) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      dz[j] += g[j];
      dz_eps[j] += g[j] * eps[j];
    }
    if (!q) return;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) dz_q[j] += g[j] * q[j];
  }
};

template <class T>
void add_to(T* out, const double* sums, int64_t n) {
  for (int64_t j = 0; j < n; ++j) out[j] += static_cast<T>(sums[j]);
}

void noise_backward(const Tensor& dz, const Tensor& eps, const Tensor& v, Tensor& q, Tensor& dcenter, Tensor& dd,
                    Tensor& dv, int64_t first) {
  const Extents e(dz);
  const int64_t J = dcenter.dim(1);
  visit_float(dz.dtype(), "noise_backward", [&](auto type) {
    using T = decltype(type);
    const T *g = dz.data<T>(), *n = eps.data<T>(), *vv = v.defined() ? v.data<T>() + first : nullptr;
    T *qq = vv ? q.data<T>() : nullptr, *gv = vv ? dv.data<T>() + first : nullptr;
    T *gc = dcenter.data<T>() + first, *gd = dd.data<T>() + first;
    for_each_columns(e, [&](int64_t b, int64_t begin, int64_t end) {
      const int64_t width = end - begin, column = b * J + begin;
      NoiseSums<T> sums;
      for (int64_t s = 0; s < e.C; ++s) {
        const int64_t at = (b * e.C + s) * e.K + begin;
        sums.add(g + at, n + at, qq ? qq + at : nullptr, width);
        if (!qq) continue;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) qq[at + j] = g[at + j] * vv[column + j];
      }
      add_to(gc + column, sums.dz, width);
      add_to(gd + column, sums.dz_eps, width);
      if (gv) add_to(gv + column, sums.dz_q, width);
    });
  });
}

// ---- one label an example ------------------------------------------------------------------------

void label_tile_forward(const Tensor& a, const Tensor& labels, Tensor& lse, Tensor& target_logit, TileOrigin at) {
  const Extents e(a);
  const bool pick = labels.defined();
  const int64_t S = lse.dim(1);
  visit_stored(a.dtype(), "label_tile_forward", [&]<class T>(T) {
    using A = Arithmetic<T>;
    A *l = lse.data<A>(), *p = pick ? target_logit.data<A>() : nullptr;
    for_each_row(e, a.data<T>(), [&](int64_t b, int64_t s, const T* row) {
      const int64_t i = b * S + at.sample + s;
      l[i] = log_add_exp(l[i], RowSum<A>(row, e.K).logsumexp());
      if (!pick) return;
      const int64_t k = labels.data<int64_t>()[b] - at.class_index;
      if (k >= 0 && k < e.K) p[i] = A(row[k]);
    });
  });
}

void label_tile_backward(Tensor& a, const Tensor& labels, const Tensor& lse, const Tensor& weight, Tensor& sums,
                         TileOrigin at) {
  const Extents e(a);
  const int64_t S = lse.dim(1);
  visit_stored(a.dtype(), "label_tile_backward", [&]<class T>(T) {
    using A = Arithmetic<T>;
    const A *l = lse.data<A>(), *w = weight.data<A>();
    differentiate_rows(e, a.data<T>(), sums, at, [&](int64_t b, int64_t s, T* row) {
      const int64_t i = b * S + at.sample + s, k = labels.data<int64_t>()[b] - at.class_index;
      const A shift = l[i], share = w[i];
      const bool here = k >= 0 && k < e.K;
      const A of_label = here ? share * math::exp(A(row[k]) - shift) - share : A{0};
#pragma omp simd
      for (int64_t c = 0; c < e.K; ++c) store(share * math::exp(A(row[c]) - shift), row[c]);
      if (here) store(of_label, row[k]);
    });
  });
}

// ---- every class ---------------------------------------------------------------------------------

/// log_p of one example's columns, joined by C rows from `a` on that are K apart; x(value, s) is the logarithm
/// averaged.
template <class T, class A, class F>
void join_samples(const T* a, int64_t C, int64_t K, int64_t width, A* log_p, F&& x) {
  A high[kColumns];
  double sum[kColumns] = {};
  std::fill_n(high, kColumns, -std::numeric_limits<A>::infinity());
  for (int64_t s = 0; s < C; ++s) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k) {
      const A value = x(A(a[s * K + k]), s);
      high[k] = value > high[k] ? value : high[k];
    }
  }
  for (A& h : high) h = finite_shift(h);
  for (int64_t s = 0; s < C; ++s) {
#pragma omp simd
    for (int64_t k = 0; k < width; ++k) sum[k] += math::exp(x(A(a[s * K + k]), s) - high[k]);
  }
  for (int64_t k = 0; k < width; ++k) log_p[k] = log_add_exp(log_p[k], high[k] + math::log(static_cast<A>(sum[k])));
}

void class_tile_forward(const Tensor& a, const Tensor& lse, Tensor& log_p, ClassLog log, TileOrigin at) {
  const Extents e(a);
  const int64_t classes = log_p.dim(1), S = lse.defined() ? lse.dim(1) : 0;
  visit_stored(a.dtype(), "class_tile_forward", [&]<class T>(T) {
    using A = Arithmetic<T>;
    const T* in = a.data<T>();
    const A* l = lse.defined() ? lse.data<A>() + at.sample : nullptr;
    A* out = log_p.data<A>() + at.class_index;
    for_each_columns(e, [&](int64_t b, int64_t begin, int64_t end) {
      const T* rows = in + b * e.C * e.K + begin;
      const A* shift = l + b * S;
      A* to = out + b * classes + begin;
      const auto join = [&](auto&& x) { join_samples(rows, e.C, e.K, end - begin, to, x); };
      if (log == ClassLog::softmax) join([=](A value, int64_t s) { return value - shift[s]; });
      if (log == ClassLog::sigmoid) join([](A value, int64_t) { return log_sigmoid(value); });
      if (log == ClassLog::sigmoid_complement) join([](A value, int64_t) { return log_sigmoid(-value); });
    });
  });
}

void soft_tile_weights(const Tensor& a, const Tensor& lse, const Tensor& log_p, const Tensor& share, Tensor& total,
                       TileOrigin at) {
  const Extents e(a);
  const int64_t S = lse.dim(1), classes = log_p.dim(1);
  visit_stored(a.dtype(), "soft_tile_weights", [&]<class T>(T) {
    using A = Arithmetic<T>;
    const A *l = lse.data<A>(), *lp = log_p.data<A>() + at.class_index, *q = share.data<A>() + at.class_index;
    A* out = total.data<A>();
    for_each_row(e, a.data<T>(), [&](int64_t b, int64_t s, const T* row) {
      const int64_t i = b * S + at.sample + s;
      const A *lpb = lp + b * classes, *qb = q + b * classes, shift = l[i];
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < e.K; ++k) sum += qb[k] * math::exp(A(row[k]) - shift - lpb[k]);
      out[i] += sum;
    });
  });
}

void soft_tile_backward(Tensor& a, const Tensor& lse, const Tensor& log_p, const Tensor& share, const Tensor& total,
                        Tensor& sums, TileOrigin at) {
  const Extents e(a);
  const int64_t S = lse.dim(1), classes = log_p.dim(1);
  visit_stored(a.dtype(), "soft_tile_backward", [&]<class T>(T) {
    using A = Arithmetic<T>;
    const A *l = lse.data<A>(), *lp = log_p.data<A>() + at.class_index, *q = share.data<A>() + at.class_index;
    const A* totals = total.data<A>();
    differentiate_rows(e, a.data<T>(), sums, at, [&](int64_t b, int64_t s, T* row) {
      const int64_t i = b * S + at.sample + s;
      const A *lpb = lp + b * classes, *qb = q + b * classes, shift = l[i], sum = totals[i];
#pragma omp simd
      for (int64_t k = 0; k < e.K; ++k) {
        const A log_softmax = A(row[k]) - shift;
        store(sum * math::exp(log_softmax) - qb[k] * math::exp(log_softmax - lpb[k]), row[k]);
      }
    });
  });
}

void sigmoid_tile_backward(Tensor& a, const Tensor& log_p, const Tensor& log_not_p, const Tensor& share,
                           const Tensor& rest, Tensor& sums, TileOrigin at) {
  const Extents e(a);
  const int64_t classes = log_p.dim(1);
  visit_stored(a.dtype(), "sigmoid_tile_backward", [&]<class T>(T) {
    using A = Arithmetic<T>;
    const A *yes = log_p.data<A>() + at.class_index, *no = log_not_p.data<A>() + at.class_index;
    const A *q = share.data<A>() + at.class_index, *r = rest.data<A>() + at.class_index;
    differentiate_rows(e, a.data<T>(), sums, at, [&](int64_t b, int64_t, T* row) {
      const int64_t from = b * classes;
#pragma omp simd
      for (int64_t k = 0; k < e.K; ++k) {
        const A x = A(row[k]), up = math::sigmoid(x), down = math::sigmoid(-x);
        store(r[from + k] * math::exp(log_sigmoid(-x) - no[from + k]) * up -
                  q[from + k] * math::exp(log_sigmoid(x) - yes[from + k]) * down,
              row[k]);
      }
    });
  });
}

// ---- classes that choose among the examples too --------------------------------------------------

void column_tile_forward(const Tensor& a, Tensor& lse, TileOrigin at) {
  const Extents e(a);
  const int64_t classes = lse.dim(1);
  visit_stored(a.dtype(), "column_tile_forward", [&]<class T>(T) {
    using A = Arithmetic<T>;
    const T* in = a.data<T>();
    A* out = lse.data<A>() + at.sample * classes + at.class_index;
    // The columns of a sample are those of one example whose samples are the tile's examples.
    for_each_columns({e.C, e.B, e.K}, [&](int64_t s, int64_t begin, int64_t end) {
      join_samples(in + s * e.K + begin, e.B, e.C * e.K, end - begin, out + s * classes + begin,
                   [](A value, int64_t) { return value; });
    });
  });
}

void pair_tile_backward(Tensor& a, const Tensor& labels, const Tensor& lse, const Tensor& weight,
                        const Tensor& column_lse, const Tensor& column_weight, Tensor& sums, TileOrigin at) {
  const char* where = "pair_tile_backward";
  const Extents e(a);
  const int64_t S = lse.dim(1), classes = column_lse.dim(1);
  visit_stored(a.dtype(), where, [&]<class T>(T) {
    using A = Arithmetic<T>;
    const A *l = lse.data<A>(), *w = weight.data<A>(), *cl = column_lse.data<A>(), *cw = column_weight.data<A>();
    differentiate_rows(e, a.data<T>(), sums, at, [&](int64_t b, int64_t s, T* row) {
      const int64_t i = b * S + at.sample + s, column = (at.sample + s) * classes + at.class_index;
      const int64_t k = labels.data<int64_t>()[b] - at.class_index;
      const A shift = l[i], share = w[i], *shifts = cl + column, *shares = cw + column;
      const auto gradient = [=](A x, int64_t c) {
        return share * math::exp(x - shift) + shares[c] * math::exp(x - shifts[c]);
      };
      const bool here = k >= 0 && k < e.K;
      const A of_label = here ? gradient(A(row[k]), k) - (share + shares[k]) : A{0};
#pragma omp simd
      for (int64_t c = 0; c < e.K; ++c) store(gradient(A(row[c]), c), row[c]);
      if (here) store(of_label, row[k]);
    });
  });
}

const bool registered = kernel::noise_forward.define(Device::cpu, noise_forward) &&
                        kernel::noise_backward.define(Device::cpu, noise_backward) &&
                        kernel::label_tile_forward.define(Device::cpu, label_tile_forward, true) &&
                        kernel::label_tile_backward.define(Device::cpu, label_tile_backward, true) &&
                        kernel::class_tile_forward.define(Device::cpu, class_tile_forward, true) &&
                        kernel::soft_tile_weights.define(Device::cpu, soft_tile_weights, true) &&
                        kernel::soft_tile_backward.define(Device::cpu, soft_tile_backward, true) &&
                        kernel::sigmoid_tile_backward.define(Device::cpu, sigmoid_tile_backward, true) &&
                        kernel::column_tile_forward.define(Device::cpu, column_tile_forward, true) &&
                        kernel::pair_tile_backward.define(Device::cpu, pair_tile_backward, true);

}  // namespace
}  // namespace sked::cpu
