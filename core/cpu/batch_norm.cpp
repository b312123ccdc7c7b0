// Batch norm with its residual and ReLU. Rows are cut into chunks that stay in cache: each yields its own mean and sum
// of squared deviations, and Chan, Golub & LeVeque's formula (1979) joins them, so x is read from memory once and
// nothing cancels.

#include <cmath>

#include "core/cpu/rows.h"
#include "core/kernels/batch_norm.h"

namespace sked::cpu {
namespace {

/// partial (2,C) = mean and Σ (x − mean)² of rows [begin, end).
template <class T>
void chunk_moments(const T* x, int64_t begin, int64_t end, int64_t C, T* partial) {
  T *mean = partial, *squares = partial + C;
  std::fill_n(partial, 2 * C, T{0});
  for (int64_t m = begin; m < end; ++m) {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) mean[c] += x[m * C + c];
  }
  const T share = T{1} / static_cast<T>(end - begin);
  for (int64_t c = 0; c < C; ++c) mean[c] *= share;
  for (int64_t m = begin; m < end; ++m) {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) {
      const T d = x[m * C + c] - mean[c];
      squares[c] += d * d;
    }
  }
}

/// mean (C) and var (C), biased, of x (M,C).
template <class T>
void moments(const T* x, int64_t M, int64_t C, T* mean, T* var) {
  const RowChunks chunks(M);
  Tensor partials = Tensor::empty({chunks.count(), 2, C}, dtype_of<T>);
  T* partial = partials.data<T>();
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < chunks.count(); ++i)
      chunk_moments(x, chunks.begin(i), chunks.end(i), C, partial + i * 2 * C);
#pragma omp for schedule(static)
    for (int64_t c = 0; c < C; ++c) {
      double average = 0, squares = 0;
      const auto rows = [&](int64_t i) { return static_cast<double>(chunks.end(i) - chunks.begin(i)); };
      for (int64_t i = 0; i < chunks.count(); ++i) average += rows(i) * partial[i * 2 * C + c];
      average /= static_cast<double>(M);
      for (int64_t i = 0; i < chunks.count(); ++i) {
        const double d = partial[i * 2 * C + c] - average;
        squares += partial[(i * 2 + 1) * C + c] + rows(i) * d * d;
      }
      mean[c] = static_cast<T>(average);
      var[c] = static_cast<T>(squares / static_cast<double>(M));
    }
  }
}

/// y = γ (x − mean) rstd + β [+ residual], then ReLU when asked.
template <class T>
void normalize(const T* x, const T* residual, const T* mean, const T* rstd, const T* gamma, const T* beta, int64_t M,
               int64_t C, bool relu, T* y) {
  const T floor = relu ? T{0} : -std::numeric_limits<T>::infinity();
#pragma omp parallel for schedule(static)
  for (int64_t m = 0; m < M; ++m) {
    const T* in = x + m * C;
    T* out = y + m * C;
    if (residual) {
      const T* add = residual + m * C;
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) {
        const T z = (in[c] - mean[c]) * (rstd[c] * gamma[c]) + beta[c] + add[c];
        out[c] = z < floor ? floor : z;
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) {
        const T z = (in[c] - mean[c]) * (rstd[c] * gamma[c]) + beta[c];
        out[c] = z < floor ? floor : z;
      }
    }
  }
}

void batch_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& y,
                        Tensor& mean, Tensor& rstd, Tensor& running_mean, Tensor& running_var, double momentum,
                        double eps, bool relu) {
  const char* where = "batch_norm_forward";
  const auto [M, C] = batch_norm_sizes(x);
  visit_float(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    Tensor variance = Tensor::like(mean);
    T *mu = mean.data<T>(), *var = variance.data<T>(), *r = rstd.data<T>();
    moments(x.data<T>(), M, C, mu, var);
    T *average_mean = running_mean.data<T>(), *average_var = running_var.data<T>();
    const T unbiased = static_cast<T>(M) / static_cast<T>(M - 1), share = static_cast<T>(momentum);
    for (int64_t c = 0; c < C; ++c) {
      r[c] = T{1} / std::sqrt(var[c] + static_cast<T>(eps));
      // In this form a momentum of 1 forgets what was there, to the last bit.
      average_mean[c] = (1 - share) * average_mean[c] + share * mu[c];
      average_var[c] = (1 - share) * average_var[c] + share * unbiased * var[c];
    }
    normalize(x.data<T>(), residual.defined() ? residual.data<T>() : nullptr, mu, r, gamma.data<T>(), beta.data<T>(), M,
              C, relu, y.data<T>());
  });
}

void batch_norm_inference(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                          const Tensor& running_mean, const Tensor& running_var, Tensor& y, double eps, bool relu) {
  const char* where = "batch_norm_inference";
  const auto [M, C] = batch_norm_sizes(x);
  visit_float(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    Tensor rstd = Tensor::like(running_var);
    const T* var = running_var.data<T>();
    T* r = rstd.data<T>();
    for (int64_t c = 0; c < C; ++c) r[c] = T{1} / std::sqrt(var[c] + static_cast<T>(eps));
    normalize(x.data<T>(), residual.defined() ? residual.data<T>() : nullptr, running_mean.data<T>(), r,
              gamma.data<T>(), beta.data<T>(), M, C, relu, y.data<T>());
  });
}

/// sums (2,C) = Σ g and Σ g (x − mean), with g = dy [y > 0] under ReLU (y null without), kept in `kept` unless that is
/// null.
template <class T>
void gradient_sums(const T* dy, const T* x, const T* y, const T* mean, int64_t M, int64_t C, T* kept, T* sums) {
  sum_over_rows(M, 2 * C, sums, [=](int64_t begin, int64_t end, T* partial) {
    T *sum = partial, *moment = partial + C;
    for (int64_t m = begin; m < end; ++m) {
      const T *g = dy + m * C, *in = x + m * C, *out = y ? y + m * C : nullptr;
      T* keep = kept ? kept + m * C : nullptr;
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) {
        const T gc = !out || out[c] > 0 ? g[c] : T{0};
        if (keep) keep[c] = gc;
        sum[c] += gc;
        moment[c] += gc * (in[c] - mean[c]);
      }
    }
  });
}

void batch_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& mean,
                         const Tensor& rstd, Tensor& dx, Tensor& dresidual, Tensor& dgamma, Tensor& dbeta, bool relu) {
  const char* where = "batch_norm_backward";
  const auto [M, C] = batch_norm_sizes(x);
  visit_float(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    Tensor sums = Tensor::empty({2, C}, x.dtype()), factors = Tensor::empty({3, C}, x.dtype());
    const T *in = x.data<T>(), *mu = mean.data<T>(), *r = rstd.data<T>(), *scale = gamma.data<T>();
    const T *g = dy.data<T>(), *out = relu ? y.data<T>() : nullptr, *total = sums.data<T>();
    T* kept = dresidual.defined() ? dresidual.data<T>() : nullptr;
    gradient_sums(g, in, out, mu, M, C, kept, sums.data<T>());
    if (kept) g = kept, out = nullptr;

    // dx = factor (g − offset − slope (x − mean))
    T *factor = factors.data<T>(), *offset = factor + C, *slope = offset + C;
    T *dg = dgamma.data<T>(), *db = dbeta.data<T>();
    for (int64_t c = 0; c < C; ++c) {
      db[c] = total[c];
      dg[c] = total[C + c] * r[c];
      factor[c] = scale[c] * r[c];
      offset[c] = db[c] / static_cast<T>(M);
      slope[c] = dg[c] * r[c] / static_cast<T>(M);
    }
    T* to = dx.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < M; ++m) {
      const T *gm = g + m * C, *xm = in + m * C, *ym = out ? out + m * C : nullptr;
      T* dm = to + m * C;
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) {
        const T gc = !ym || ym[c] > 0 ? gm[c] : T{0};
        dm[c] = factor[c] * (gc - offset[c] - slope[c] * (xm[c] - mu[c]));
      }
    }
  });
}

[[maybe_unused]] const bool registered = kernel::batch_norm_forward.define(Device::cpu, batch_norm_forward) &&
                                         kernel::batch_norm_inference.define(Device::cpu, batch_norm_inference) &&
                                         kernel::batch_norm_backward.define(Device::cpu, batch_norm_backward);

}  // namespace
}  // namespace sked::cpu
