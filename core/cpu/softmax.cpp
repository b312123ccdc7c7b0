// The softmax family. Rows lie in the last axis, but for logsumexp, which takes any axis by blocks of columns that stay
// in cache.

#include <cmath>
#include <limits>

#include "core/cpu/softmax_rows.h"
#include "core/kernels/softmax.h"

namespace sked::cpu {
namespace {

void softmax_forward(const Tensor& x, Tensor& y) {
  const auto [N, K] = row_sizes(x);
  visit_float(x.dtype(), "softmax_forward", [&, N = N, K = K]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) softmax_row(in + n * K, K, T{1}, out + n * K);
  });
}

void softmax_backward(const Tensor& dy, const Tensor& y, Tensor& dx) {
  const auto [N, K] = row_sizes(y);
  visit_float(y.dtype(), "softmax_backward", [&, N = N, K = K]<class T>(T) {
    const T *g = dy.data<T>(), *p = y.data<T>();
    T* out = dx.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) {
      T dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t k = n * K; k < (n + 1) * K; ++k) dot += g[k] * p[k];
#pragma omp simd
      for (int64_t k = n * K; k < (n + 1) * K; ++k) out[k] = p[k] * (g[k] - dot);
    }
  });
}

void log_softmax_forward(const Tensor& x, Tensor& y) {
  const auto [N, K] = row_sizes(x);
  visit_float(x.dtype(), "log_softmax_forward", [&, N = N, K = K]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) {
      // x − max before − log Σ, not x − logsumexp: at logits of 1e4 the latter would keep 3 digits of a small log Σ.
      const RowSum<T> s(in + n * K, K);
      const T log_sum = math::log(s.sum);
#pragma omp simd
      for (int64_t k = n * K; k < (n + 1) * K; ++k) out[k] = (in[k] - s.shift) - log_sum;
    }
  });
}

void log_softmax_backward(const Tensor& dy, const Tensor& y, Tensor& dx) {
  const auto [N, K] = row_sizes(y);
  visit_float(y.dtype(), "log_softmax_backward", [&, N = N, K = K]<class T>(T) {
    const T *g = dy.data<T>(), *logp = y.data<T>();
    T* out = dx.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) {
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = n * K; k < (n + 1) * K; ++k) sum += g[k];
#pragma omp simd
      for (int64_t k = n * K; k < (n + 1) * K; ++k) out[k] = g[k] - math::exp(logp[k]) * sum;
    }
  });
}

constexpr int64_t kColumns = 64;  // columns reduced at once: their maxima and sums stay in registers and L1

/// y[j] = log Σ_i exp x[i·stride + j] for `columns` ≤ kColumns columns.
template <class T>
void logsumexp_columns(const T* x, int64_t n, int64_t stride, int64_t columns, T* y) {
  T shift[kColumns], sum[kColumns];
  std::fill_n(shift, columns, -std::numeric_limits<T>::infinity());
  std::fill_n(sum, columns, T{0});
  for (int64_t i = 0; i < n; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) shift[j] = x[i * stride + j] > shift[j] ? x[i * stride + j] : shift[j];
  }
  for (int64_t j = 0; j < columns; ++j) shift[j] = finite_shift(shift[j]);
  for (int64_t i = 0; i < n; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) sum[j] += math::exp(x[i * stride + j] - shift[j]);
  }
  for (int64_t j = 0; j < columns; ++j) y[j] = shift[j] + math::log(sum[j]);
}

void logsumexp_forward(const Tensor& x, Tensor& y, ReduceView view) {
  visit_float(x.dtype(), "logsumexp_forward", [&]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t o = 0; o < view.outer; ++o) {
      for (int64_t j = 0; j < view.inner; j += kColumns) {
        const T* from = in + o * view.n * view.inner + j;
        T* to = out + o * view.inner + j;
        if (view.inner == 1)
          *to = RowSum<T>(from, view.n).logsumexp();
        else
          logsumexp_columns(from, view.n, view.inner, std::min(kColumns, view.inner - j), to);
      }
    }
  });
}

void logsumexp_backward(const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, ReduceView view) {
  visit_float(x.dtype(), "logsumexp_backward", [&]<class T>(T) {
    const T *in = x.data<T>(), *lse = y.data<T>(), *g = dy.data<T>();
    T* out = dx.data<T>();
    const auto term = [](T z, T l, T d) {
      return l == -std::numeric_limits<T>::infinity() ? T{0} : d * math::exp(z - l);
    };
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t o = 0; o < view.outer; ++o) {
      for (int64_t i = 0; i < (view.inner == 1 ? 1 : view.n); ++i) {
        if (view.inner == 1) {  // a contiguous row under one y
#pragma omp simd
          for (int64_t k = o * view.n; k < (o + 1) * view.n; ++k) out[k] = term(in[k], lse[o], g[o]);
        } else {
          const int64_t row = (o * view.n + i) * view.inner, to = o * view.inner;
#pragma omp simd
          for (int64_t j = 0; j < view.inner; ++j) out[row + j] = term(in[row + j], lse[to + j], g[to + j]);
        }
      }
    }
  });
}

/// The sizes, after a look at every label.
RowSizes checked_labels(const Tensor& x, const Tensor& labels, const char* where) {
  const RowSizes s = row_sizes(x);
  const int64_t* label = labels.data<int64_t>();
  for (int64_t n = 0; n < s.N; ++n)
    require(label[n] >= 0 && label[n] < s.K, where, "expected labels in 0 to ", s.K - 1, ", got ", label[n], " in row ",
            n);
  return s;
}

void cross_entropy_forward(const Tensor& x, const Tensor& labels, Tensor& loss, Tensor& lse) {
  const auto [N, K] = checked_labels(x, labels, "cross_entropy_forward");
  visit_float(x.dtype(), "cross_entropy_forward", [&, N = N, K = K]<class T>(T) {
    const T* in = x.data<T>();
    const int64_t* label = labels.data<int64_t>();
    T *out = loss.data<T>(), *l = lse.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) {
      const RowSum<T> s(in + n * K, K);
      l[n] = s.logsumexp();
      out[n] = math::log(s.sum) - (in[n * K + label[n]] - s.shift);  // not l − x: see log_softmax_forward
    }
  });
}

void cross_entropy_backward(const Tensor& dloss, const Tensor& x, const Tensor& labels, const Tensor& lse, Tensor& dx) {
  const auto [N, K] = checked_labels(x, labels, "cross_entropy_backward");
  visit_float(x.dtype(), "cross_entropy_backward", [&, N = N, K = K]<class T>(T) {
    const T *g = dloss.data<T>(), *in = x.data<T>(), *l = lse.data<T>();
    const int64_t* label = labels.data<int64_t>();
    T* out = dx.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) {
#pragma omp simd
      for (int64_t k = n * K; k < (n + 1) * K; ++k) out[k] = g[n] * math::exp(in[k] - l[n]);
      out[n * K + label[n]] -= g[n];
    }
  });
}

[[maybe_unused]] const bool registered = kernel::softmax_forward.define(Device::cpu, softmax_forward) &&
                                         kernel::softmax_backward.define(Device::cpu, softmax_backward) &&
                                         kernel::log_softmax_forward.define(Device::cpu, log_softmax_forward) &&
                                         kernel::log_softmax_backward.define(Device::cpu, log_softmax_backward) &&
                                         kernel::logsumexp_forward.define(Device::cpu, logsumexp_forward) &&
                                         kernel::logsumexp_backward.define(Device::cpu, logsumexp_backward) &&
                                         kernel::cross_entropy_forward.define(Device::cpu, cross_entropy_forward) &&
                                         kernel::cross_entropy_backward.define(Device::cpu, cross_entropy_backward);

}  // namespace
}  // namespace sked::cpu
