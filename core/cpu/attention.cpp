// Definition of attention, query by query. The tuned version (onednn_attention.cpp) computes the same with matrix
// products.

#include <vector>

#include "core/cpu/softmax_rows.h"
#include "core/kernels/attention.h"

namespace sked::cpu {
namespace {

template <class T>
T dot(const T* a, const T* b, int64_t E) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t e = 0; e < E; ++e) sum += a[e] * b[e];
  return sum;
}

/// y += alpha x.
template <class T>
void add_scaled(T alpha, const T* x, int64_t E, T* y) {
#pragma omp simd
  for (int64_t e = 0; e < E; ++e) y[e] += alpha * x[e];
}

/// The vectors of one image and head inside packed projections (N,T,3,H,E): token t of q, k or v.
template <class T>
struct Packed {
  T *q, *k, *v;
  int64_t stride;  // from a token to the next

  Packed(T* qkv, const AttentionSizes& s, int64_t n, int64_t h) : stride(3 * s.H * s.E) {
    q = qkv + n * s.T * stride + h * s.E;
    k = q + s.H * s.E;
    v = k + s.H * s.E;
  }
};

void attention_forward(const Tensor& qkv, Tensor& y, Tensor& lse, double scale, bool causal) {
  const AttentionSizes s = attention_sizes(qkv);
  visit_float(qkv.dtype(), "attention_forward", [&]<class T>(T) {
    const T* in = qkv.data<T>();
    T *out = y.data<T>(), *l = lse.data<T>();
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      for (int64_t h = 0; h < s.H; ++h) {
        const Packed<const T> head(in, s, n, h);
        std::vector<T> p(static_cast<size_t>(s.T));
        for (int64_t t = 0; t < s.T; ++t) {
          const int64_t keys = causal ? t + 1 : s.T;
          for (int64_t j = 0; j < keys; ++j) p[j] = dot(head.q + t * head.stride, head.k + j * head.stride, s.E);
          l[(n * s.H + h) * s.T + t] = softmax_row(p.data(), keys, static_cast<T>(scale), p.data());
          T* row = out + ((n * s.T + t) * s.H + h) * s.E;
          std::fill_n(row, s.E, T{0});
          for (int64_t j = 0; j < keys; ++j) add_scaled(p[j], head.v + j * head.stride, s.E, row);
        }
      }
    }
  });
}

/// One image and head: dy and y step from token to token by H·E.
template <class T>
void backward_head(const T* dy, const T* y, const T* lse, const Packed<const T>& x, const Packed<T>& dx,
                   const AttentionSizes& s, T scale, bool causal) {
  for (int64_t t = 0; t < s.T; ++t) {
    std::fill_n(dx.q + t * dx.stride, s.E, T{0});
    std::fill_n(dx.k + t * dx.stride, s.E, T{0});
    std::fill_n(dx.v + t * dx.stride, s.E, T{0});
  }
  for (int64_t t = 0; t < s.T; ++t) {
    const T *g = dy + t * s.H * s.E, *q = x.q + t * x.stride;
    const T correction = dot(g, y + t * s.H * s.E, s.E);
    for (int64_t j = 0; j < (causal ? t + 1 : s.T); ++j) {
      const T p = math::exp(scale * dot(q, x.k + j * x.stride, s.E) - lse[t]);
      const T ds = p * (dot(g, x.v + j * x.stride, s.E) - correction);
      add_scaled(scale * ds, x.k + j * x.stride, s.E, dx.q + t * dx.stride);
      add_scaled(scale * ds, q, s.E, dx.k + j * dx.stride);
      add_scaled(p, g, s.E, dx.v + j * dx.stride);
    }
  }
}

void attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse, Tensor& dqkv,
                        double scale, bool causal) {
  const AttentionSizes s = attention_sizes(qkv);
  visit_float(qkv.dtype(), "attention_backward", [&]<class T>(T) {
    const T *g = dy.data<T>(), *in = qkv.data<T>(), *out = y.data<T>(), *l = lse.data<T>();
    T* to = dqkv.data<T>();
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      for (int64_t h = 0; h < s.H; ++h) {
        const int64_t at = (n * s.T * s.H + h) * s.E;
        backward_head(g + at, out + at, l + (n * s.H + h) * s.T, Packed<const T>(in, s, n, h), Packed<T>(to, s, n, h),
                      s, static_cast<T>(scale), causal);
      }
    }
  });
}

[[maybe_unused]] const bool registered = kernel::attention_forward.define(Device::cpu, attention_forward) &&
                                         kernel::attention_backward.define(Device::cpu, attention_backward);

}  // namespace
}  // namespace sked::cpu
