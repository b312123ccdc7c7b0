// Batch norm with its residual and ReLU. Rows are cut into chunks that stay in cache: each yields its own mean and sum
// of squared deviations, and Chan, Golub & LeVeque's formula (1979) joins them, so x is read from memory once and
// nothing cancels.

#include <cmath>

#include "core/cpu/rows.h"
#include "core/kernels/batch_norm.h"

namespace sked::cpu {
namespace {

// Activations (x, y, the residual and their gradients) are stored as T, which may be bf16; parameters, statistics and
// all arithmetic are A = Arithmetic<T>. What comes with parameters or statistics in bf16 is computed in f32.

/// partial (2,C) = mean and Σ (x − mean)² of rows [begin, end).
template <class T, class A>
void chunk_moments(const T* x, int64_t begin, int64_t end, int64_t C, A* partial) {
  A *mean = partial, *squares = partial + C;
  std::fill_n(partial, 2 * C, A{0});
  for (int64_t m = begin; m < end; ++m) {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) mean[c] += A(x[m * C + c]);
  }
  const A share = A{1} / static_cast<A>(end - begin);
  for (int64_t c = 0; c < C; ++c) mean[c] *= share;
  for (int64_t m = begin; m < end; ++m) {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) {
      const A d = A(x[m * C + c]) - mean[c];
      squares[c] += d * d;
    }
  }
}

/// Mean and Σ (x − mean)² of each channel of parts that lie together: part i has rows(i) rows of M and begins at
/// partial + i · stride with its (mean, squares) (2,C). Calls to(c, mean, squares). A loop of the team that calls it.
template <class T, class Rows, class F>
void join_moments(const T* partial, int64_t parts, int64_t stride, int64_t C, double M, const Rows& rows, const F& to) {
#pragma omp for schedule(static)
  for (int64_t c = 0; c < C; ++c) {
    double average = 0, squares = 0;
    for (int64_t i = 0; i < parts; ++i) average += rows(i) * partial[i * stride + c];
    average /= M;
    for (int64_t i = 0; i < parts; ++i) {
      const double d = partial[i * stride + c] - average;
      squares += partial[i * stride + C + c] + rows(i) * d * d;
    }
    to(c, average, squares);
  }
}

/// The same for all of x (M,C).
template <class T, class F>
void moments(const T* x, int64_t M, int64_t C, const F& to) {
  using A = Arithmetic<T>;
  const RowChunks chunks(M);
  Tensor partials = Tensor::empty({chunks.count(), 2, C}, dtype_of<A>);
  A* partial = partials.data<A>();
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < chunks.count(); ++i)
      chunk_moments(x, chunks.begin(i), chunks.end(i), C, partial + i * 2 * C);
    const auto rows = [&](int64_t i) { return static_cast<double>(chunks.end(i) - chunks.begin(i)); };
    join_moments(partial, chunks.count(), 2 * C, C, static_cast<double>(M), rows, to);
  }
}

/// rstd and running statistics from the mean and the biased variance of M rows.
template <class T>
void finish_statistics(int64_t M, const Tensor& mean, const Tensor& var, Tensor& rstd, Tensor& running_mean,
                       Tensor& running_var, double momentum, double eps) {
  const T *mu = mean.data<T>(), *v = var.data<T>();
  T *r = rstd.data<T>(), *average_mean = running_mean.data<T>(), *average_var = running_var.data<T>();
  const T unbiased = static_cast<T>(M) / static_cast<T>(M - 1), share = static_cast<T>(momentum);
  for (int64_t c = 0; c < mean.numel(); ++c) {
    r[c] = T{1} / std::sqrt(v[c] + static_cast<T>(eps));
    // In this form a momentum of 1 forgets what was there, to the last bit.
    average_mean[c] = (1 - share) * average_mean[c] + share * mu[c];
    average_var[c] = (1 - share) * average_var[c] + share * unbiased * v[c];
  }
}

/// y = γ (x − mean) rstd + β [+ residual], then ReLU when asked.
template <class T, class A>
void normalize(const T* x, const T* residual, const A* mean, const A* rstd, const A* gamma, const A* beta, int64_t M,
               int64_t C, bool relu, T* y) {
  const A floor = relu ? A{0} : -std::numeric_limits<A>::infinity();
#pragma omp parallel for schedule(static)
  for (int64_t m = 0; m < M; ++m) {
    const T* in = x + m * C;
    T* out = y + m * C;
    if (residual) {
      const T* add = residual + m * C;
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) {
        const A z = (A(in[c]) - mean[c]) * (rstd[c] * gamma[c]) + beta[c] + A(add[c]);
        store(z < floor ? floor : z, out[c]);
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) {
        const A z = (A(in[c]) - mean[c]) * (rstd[c] * gamma[c]) + beta[c];
        store(z < floor ? floor : z, out[c]);
      }
    }
  }
}

void batch_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& y,
                        Tensor& mean, Tensor& rstd, Tensor& running_mean, Tensor& running_var, double momentum,
                        double eps, bool relu) {
  if (gamma.dtype() == DType::bf16 || running_mean.dtype() == DType::bf16)
    return kernel::batch_norm_forward.widened(batch_norm_forward, x, residual, gamma, beta, y, mean, rstd, running_mean,
                                              running_var, momentum, eps, relu);
  const char* where = "batch_norm_forward";
  const auto [M, C] = batch_norm_sizes(x);
  visit_stored(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    using A = Arithmetic<T>;
    Tensor variance = Tensor::like(mean);
    A *mu = mean.data<A>(), *var = variance.data<A>();
    moments(x.data<T>(), M, C, [=, M = M](int64_t c, double average, double squares) {
      mu[c] = static_cast<A>(average);
      var[c] = static_cast<A>(squares / static_cast<double>(M));
    });
    finish_statistics<A>(M, mean, variance, rstd, running_mean, running_var, momentum, eps);
    normalize(x.data<T>(), residual.defined() ? residual.data<T>() : nullptr, mu, rstd.data<A>(), gamma.data<A>(),
              beta.data<A>(), M, C, relu, y.data<T>());
  });
}

void batch_norm_moments(const Tensor& x, Tensor& all) {
  if (all.dtype() == DType::bf16) return kernel::batch_norm_moments.widened(batch_norm_moments, x, all);
  const auto [M, C] = batch_norm_sizes(x);
  visit_stored(x.dtype(), "batch_norm_moments", [&, M = M, C = C]<class T>(T) {
    using A = Arithmetic<T>;
    A *mean = all.data<A>(), *squares = mean + C, *rows = squares + C;
    moments(x.data<T>(), M, C, [=, M = M](int64_t c, double average, double deviations) {
      mean[c] = static_cast<A>(average);
      squares[c] = static_cast<A>(deviations);
      rows[c] = static_cast<A>(M);
    });
  });
}

void batch_norm_join(const Tensor& moments, Tensor& mean, Tensor& var, Tensor& rstd, Tensor& running_mean,
                     Tensor& running_var, double momentum, double eps) {
  const int64_t N = moments.dim(0), C = moments.dim(2);
  if (C == 0) return;
  visit_float(moments.dtype(), "batch_norm_join", [&]<class T>(T) {
    const T* of = moments.data<T>();
    T *mu = mean.data<T>(), *v = var.data<T>();
    const auto rows = [=](int64_t i) { return static_cast<double>(of[(3 * i + 2) * C]); };
    double M = 0;
    for (int64_t i = 0; i < N; ++i) M += rows(i);
    join_moments(of, N, 3 * C, C, M, rows, [=](int64_t c, double average, double squares) {
      mu[c] = static_cast<T>(average);
      v[c] = static_cast<T>(squares / M);
    });
    finish_statistics<T>(static_cast<int64_t>(M), mean, var, rstd, running_mean, running_var, momentum, eps);
  });
}

void batch_norm_inference(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                          const Tensor& running_mean, const Tensor& running_var, Tensor& y, double eps, bool relu) {
  if (gamma.dtype() == DType::bf16 || running_mean.dtype() == DType::bf16)
    return kernel::batch_norm_inference.widened(batch_norm_inference, x, residual, gamma, beta, running_mean,
                                                running_var, y, eps, relu);
  const char* where = "batch_norm_inference";
  const auto [M, C] = batch_norm_sizes(x);
  visit_stored(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    using A = Arithmetic<T>;
    Tensor rstd = Tensor::like(running_var);
    const A* var = running_var.data<A>();
    A* r = rstd.data<A>();
    for (int64_t c = 0; c < C; ++c) r[c] = A{1} / std::sqrt(var[c] + static_cast<A>(eps));
    normalize(x.data<T>(), residual.defined() ? residual.data<T>() : nullptr, running_mean.data<A>(), r,
              gamma.data<A>(), beta.data<A>(), M, C, relu, y.data<T>());
  });
}

/// g = dy [y > 0] of one row under ReLU, else dy (y null), for f(c, g): a loop over channels for each case.
template <class T, class F>
void for_each_gradient(const T* dy, const T* y, int64_t C, F&& f) {
  using A = Arithmetic<T>;
  if (y) {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) f(c, A(y[c]) > 0 ? A(dy[c]) : A{0});
  } else {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) f(c, A(dy[c]));
  }
}

/// sums (3,C) = Σ g, Σ g x̂ and M, with g = dy [y > 0] under ReLU (y null without), kept in `kept` unless that is null.
template <class T, class A>
void gradient_sums(const T* dy, const T* x, const T* y, const A* mean, const A* rstd, int64_t M, int64_t C, T* kept,
                   A* sums) {
  sum_over_rows(M, 2 * C, sums, [=](int64_t begin, int64_t end, A* partial) {
    A *sum = partial, *moment = partial + C;
    for (int64_t m = begin; m < end; ++m) {
      const T* in = x + m * C;
      T* keep = kept ? kept + m * C : nullptr;
      const auto add = [=](int64_t c, A g) {
        sum[c] += g;
        moment[c] += g * (A(in[c]) - mean[c]);
      };
      if (keep)
        for_each_gradient(dy + m * C, y ? y + m * C : nullptr, C,
                          [=](int64_t c, A g) { store(g, keep[c]), add(c, g); });
      else
        for_each_gradient(dy + m * C, y ? y + m * C : nullptr, C, add);
    }
  });
  for (int64_t c = 0; c < C; ++c) {
    sums[C + c] *= rstd[c];
    sums[2 * C + c] = static_cast<A>(M);
  }
}

/// dx = γ rstd (g − sums[0]/M − x̂ sums[1]/M), with M = sums[2] and g as above, of x's own rows.
template <class T>
void input_gradient(const T* dy, const T* x, const T* y, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                    const Tensor& sums, int64_t rows, T* dx) {
  using A = Arithmetic<T>;
  const int64_t C = gamma.numel();
  const A *scale = gamma.data<A>(), *mu = mean.data<A>(), *r = rstd.data<A>();
  const A *sum = sums.data<A>(), *moment = sum + C, *M = moment + C;
  Tensor factors = Tensor::empty({3, C}, gamma.dtype());
  // dx = factor (g − offset − slope (x − mean))
  A *factor = factors.data<A>(), *offset = factor + C, *slope = offset + C;
  for (int64_t c = 0; c < C; ++c) {
    factor[c] = scale[c] * r[c];
    offset[c] = sum[c] / M[c];
    slope[c] = moment[c] * r[c] / M[c];
  }
#pragma omp parallel for schedule(static)
  for (int64_t m = 0; m < rows; ++m) {
    const T* xm = x + m * C;
    T* dm = dx + m * C;
    for_each_gradient(dy + m * C, y ? y + m * C : nullptr, C, [=](int64_t c, A g) {
      store(factor[c] * (g - offset[c] - slope[c] * (A(xm[c]) - mu[c])), dm[c]);
    });
  }
}

void batch_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& mean,
                         const Tensor& rstd, Tensor& dx, Tensor& dresidual, Tensor& dgamma, Tensor& dbeta, bool relu) {
  if (gamma.dtype() == DType::bf16)
    return kernel::batch_norm_backward.widened(batch_norm_backward, dy, x, y, gamma, mean, rstd, dx, dresidual, dgamma,
                                               dbeta, relu);
  const char* where = "batch_norm_backward";
  const auto [M, C] = batch_norm_sizes(x);
  visit_stored(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    using A = Arithmetic<T>;
    Tensor sums = Tensor::empty({3, C}, dtype_of<A>);
    const T *g = dy.data<T>(), *in = x.data<T>(), *out = relu ? y.data<T>() : nullptr;
    const A* total = sums.data<A>();
    T* kept = dresidual.defined() ? dresidual.data<T>() : nullptr;
    gradient_sums(g, in, out, mean.data<A>(), rstd.data<A>(), M, C, kept, sums.data<A>());
    if (kept) g = kept, out = nullptr;
    input_gradient(g, in, out, gamma, mean, rstd, sums, M, dx.data<T>());
    std::copy_n(total, C, dbeta.data<A>());
    std::copy_n(total + C, C, dgamma.data<A>());
  });
}

void batch_norm_sums(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& mean, const Tensor& rstd,
                     Tensor& dresidual, Tensor& sums, bool relu) {
  if (mean.dtype() == DType::bf16)
    return kernel::batch_norm_sums.widened(batch_norm_sums, dy, x, y, mean, rstd, dresidual, sums, relu);
  const auto [M, C] = batch_norm_sizes(x);
  visit_stored(x.dtype(), "batch_norm_sums", [&, M = M, C = C]<class T>(T) {
    using A = Arithmetic<T>;
    gradient_sums(dy.data<T>(), x.data<T>(), relu ? y.data<T>() : nullptr, mean.data<A>(), rstd.data<A>(), M, C,
                  dresidual.defined() ? dresidual.data<T>() : nullptr, sums.data<A>());
  });
}

void batch_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma,
                               const Tensor& mean, const Tensor& rstd, const Tensor& sums, Tensor& dx, bool relu) {
  if (gamma.dtype() == DType::bf16)
    return kernel::batch_norm_input_gradient.widened(batch_norm_input_gradient, dy, x, y, gamma, mean, rstd, sums, dx,
                                                     relu);
  visit_stored(x.dtype(), "batch_norm_input_gradient", [&]<class T>(T) {
    input_gradient(dy.data<T>(), x.data<T>(), relu ? y.data<T>() : nullptr, gamma, mean, rstd, sums,
                   batch_norm_sizes(x).M, dx.data<T>());
  });
}

[[maybe_unused]] const bool registered =
    kernel::batch_norm_forward.define(Device::cpu, batch_norm_forward, true) &&
    kernel::batch_norm_moments.define(Device::cpu, batch_norm_moments, true) &&
    kernel::batch_norm_join.define(Device::cpu, batch_norm_join) &&
    kernel::batch_norm_inference.define(Device::cpu, batch_norm_inference, true) &&
    kernel::batch_norm_backward.define(Device::cpu, batch_norm_backward, true) &&
    kernel::batch_norm_sums.define(Device::cpu, batch_norm_sums, true) &&
    kernel::batch_norm_input_gradient.define(Device::cpu, batch_norm_input_gradient, true);

}  // namespace
}  // namespace sked::cpu
