// Group norm, one image a thread: sums are kept a channel each, which vectorizes in NHWC, and joined group by group.

#include <cmath>
#include <vector>

#include "core/cpu/rows.h"
#include "core/kernels/group_norm.h"

namespace sked::cpu {
namespace {

/// by_channel (C) holds one number a channel: every group's sum of them, spread over the group's channels again.
template <class T>
void sum_groups(T* by_channel, const GroupNormSizes& s) {
  for (int64_t g = 0; g < s.groups; ++g) {
    T* group = by_channel + g * s.width;
    double sum = 0;
    for (int64_t c = 0; c < s.width; ++c) sum += group[c];
    std::fill_n(group, s.width, static_cast<T>(sum));
  }
}

/// mean, rstd (C): those of each channel's group, for one image x (P,C).
template <class T>
void group_statistics(const T* x, const GroupNormSizes& s, double eps, T* mean, T* rstd) {
  const T count = static_cast<T>(s.P * s.width);
  std::fill_n(mean, s.C, T{0});
  std::fill_n(rstd, s.C, T{0});
  for (int64_t p = 0; p < s.P; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < s.C; ++c) mean[c] += x[p * s.C + c];
  }
  sum_groups(mean, s);
  for (int64_t c = 0; c < s.C; ++c) mean[c] /= count;
  for (int64_t p = 0; p < s.P; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < s.C; ++c) {
      const T d = x[p * s.C + c] - mean[c];
      rstd[c] += d * d;
    }
  }
  sum_groups(rstd, s);
  for (int64_t c = 0; c < s.C; ++c) rstd[c] = T{1} / std::sqrt(rstd[c] / count + static_cast<T>(eps));
}

void group_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                        int64_t groups, double eps) {
  const char* where = "group_norm_forward";
  const GroupNormSizes s = group_norm_sizes(x, groups);
  visit_float(x.dtype(), where, [&]<class T>(T) {
    const T *in = x.data<T>(), *scale = gamma.data<T>(), *shift = beta.data<T>();
    T *out = y.data<T>(), *mu = mean.data<T>(), *r = rstd.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      std::vector<T> statistics(static_cast<size_t>(2 * s.C));
      T *m = statistics.data(), *q = m + s.C;
      const T* image = in + n * s.P * s.C;
      group_statistics(image, s, eps, m, q);
      for (int64_t g = 0; g < s.groups; ++g) {
        mu[n * s.groups + g] = m[g * s.width];
        r[n * s.groups + g] = q[g * s.width];
      }
      for (int64_t p = 0; p < s.P; ++p) {
        T* to = out + (n * s.P + p) * s.C;
#pragma omp simd
        for (int64_t c = 0; c < s.C; ++c) to[c] = scale[c] * ((image[p * s.C + c] - m[c]) * q[c]) + shift[c];
      }
    }
  });
}

/// One image: sums (2,C) = Σ_p dy x̂ and Σ_p dy, and dx (P,C). mean, rstd: of the image's groups.
template <class T>
void backward_image(const T* dy, const T* x, const T* gamma, const T* mean, const T* rstd, const GroupNormSizes& s,
                    T* dx, T* sums) {
  std::vector<T> channels(static_cast<size_t>(4 * s.C));
  T *m = channels.data(), *r = m + s.C, *mean_g = r + s.C, *mean_gx = mean_g + s.C;
  T *dgamma = sums, *dbeta = sums + s.C;
  for (int64_t c = 0; c < s.C; ++c) m[c] = mean[c / s.width], r[c] = rstd[c / s.width];
  std::fill_n(sums, 2 * s.C, T{0});
  for (int64_t p = 0; p < s.P; ++p) {
    const T *g = dy + p * s.C, *in = x + p * s.C;
#pragma omp simd
    for (int64_t c = 0; c < s.C; ++c) {
      dgamma[c] += g[c] * ((in[c] - m[c]) * r[c]);
      dbeta[c] += g[c];
    }
  }
  const T share = T{1} / static_cast<T>(s.P * s.width);
  for (int64_t c = 0; c < s.C; ++c) mean_g[c] = gamma[c] * dbeta[c] * share, mean_gx[c] = gamma[c] * dgamma[c] * share;
  sum_groups(mean_g, s);
  sum_groups(mean_gx, s);
  for (int64_t p = 0; p < s.P; ++p) {
    const T *g = dy + p * s.C, *in = x + p * s.C;
    T* to = dx + p * s.C;
#pragma omp simd
    for (int64_t c = 0; c < s.C; ++c) to[c] = r[c] * (g[c] * gamma[c] - mean_g[c] - (in[c] - m[c]) * r[c] * mean_gx[c]);
  }
}

void group_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                         Tensor& dx, Tensor& dgamma, Tensor& dbeta, int64_t groups) {
  const char* where = "group_norm_backward";
  const GroupNormSizes s = group_norm_sizes(x, groups);
  visit_float(x.dtype(), where, [&]<class T>(T) {
    const T *g = dy.data<T>(), *in = x.data<T>(), *scale = gamma.data<T>(), *mu = mean.data<T>(), *r = rstd.data<T>();
    Tensor partials = Tensor::empty({s.N, 2 * s.C}, x.dtype()), sums = Tensor::empty({2 * s.C}, x.dtype());
    T *out = dx.data<T>(), *partial = partials.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      const int64_t at = n * s.P * s.C;
      backward_image(g + at, in + at, scale, mu + n * groups, r + n * groups, s, out + at, partial + n * 2 * s.C);
    }
    sum_rows(partials.data<T>(), s.N, 2 * s.C, sums.data<T>());
    std::copy_n(sums.data<T>(), s.C, dgamma.data<T>());
    std::copy_n(sums.data<T>() + s.C, s.C, dbeta.data<T>());
  });
}

[[maybe_unused]] const bool registered = kernel::group_norm_forward.define(Device::cpu, group_norm_forward) &&
                                         kernel::group_norm_backward.define(Device::cpu, group_norm_backward);

}  // namespace
}  // namespace sked::cpu
