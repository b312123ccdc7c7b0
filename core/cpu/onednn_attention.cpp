// Attention by matrix products, one image and head a thread, a block of queries at a time: the block of scores stays in
// cache, and nothing of size T² is kept. The products are oneDNN's, of the head's vectors side by side, as they are
// stored; scores and sums are f32.

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/cpu/onednn_bf16.h"
#include "core/cpu/onednn_gemm.h"
#include "core/cpu/softmax_rows.h"
#include "core/kernels/attention.h"

namespace sked::cpu {
namespace {

using onednn::multiply_small;

constexpr int64_t kQueries = 256;

/// Rows of scores are whole vectors of this many: keys are filled up with zeros, and their scores with −∞.
constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
constexpr int64_t whole(int64_t keys) { return (keys + kLanes - 1) / kLanes * kLanes; }

/// f of all lanes.
template <class F>
float across(const Lanes& lanes, F f) {
  float x[kLanes];
  std::memcpy(x, &lanes, sizeof(x));
#pragma GCC unroll 4
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < half; ++i) x[i] = f(x[i], x[i + half]);
  }
  return x[0];
}

float plus(float a, float b) { return a + b; }
float larger(float a, float b) { return b > a ? b : a; }

template <class T>
float dot(const T* a, const T* b, int64_t E) {
  Lanes sums = {};
  int64_t e = 0;
  for (; e + kLanes <= E; e += kLanes) {
    alignas(Lanes) float products[kLanes];
#pragma omp simd
    for (int64_t i = 0; i < kLanes; ++i) products[i] = static_cast<float>(a[e + i]) * static_cast<float>(b[e + i]);
    sums += *reinterpret_cast<const Lanes*>(products);
  }
  float total = across(sums, plus);
  for (; e < E; ++e) total += static_cast<float>(a[e]) * static_cast<float>(b[e]);
  return total;
}

/// One image and head: where its vectors lie and how far a token is from the next.
struct Head {
  int64_t qkv, out, lse;       // offsets of q's first token, of y's or dy's, of lse's
  int64_t k, v;                // offsets from q to k and v
  int64_t stride, out_stride;  // from token to token

  Head(const AttentionSizes& s, int64_t n, int64_t h)
      : qkv((n * s.T * 3 * s.H + h) * s.E),
        out((n * s.T * s.H + h) * s.E),
        lse((n * s.H + h) * s.T),
        k(s.H * s.E),
        v(2 * s.H * s.E),
        stride(3 * s.H * s.E),
        out_stride(s.H * s.E) {}
};

/// What one head works in. Scores, of a block of queries, and their gradients: in f32, then as factors (in f32 the same
/// memory). A head's vectors side by side: q, k, v, dy and, as products leave them, y or dq, dk, dv.
template <class T>
class Scratch {
 public:
  float *scores, *dscores, *dq, *dk, *dv;
  T *P, *dS, *q, *k, *v, *dy;

  Scratch(std::byte* memory, const AttentionSizes& s) : at_(reinterpret_cast<std::uintptr_t>(memory)) {
    const int64_t block = std::min(kQueries, s.T) * whole(s.T), vectors = whole(s.T) * s.E;
    take(scores, block), take(dscores, block);
    if constexpr (std::is_same_v<T, float>)
      P = scores, dS = dscores;
    else
      take(P, block), take(dS, block);
    take(dq, vectors), take(dk, vectors), take(dv, vectors);
    take(q, vectors), take(k, vectors), take(v, vectors), take(dy, vectors);
  }
  static int64_t bytes(const AttentionSizes& s) { return static_cast<int64_t>(Scratch(nullptr, s).at_); }

 private:
  template <class U>
  void take(U*& array, int64_t count) {
    constexpr std::uintptr_t kLine = 64;
    array = reinterpret_cast<U*>(at_);
    at_ += (static_cast<std::uintptr_t>(count) * sizeof(U) + kLine - 1) / kLine * kLine;
  }
  std::uintptr_t at_;
};

/// f(head, scratch) for every image and head, in parallel.
template <class T, class F>
void for_each_head(const AttentionSizes& s, F&& f) {
  const int64_t bytes = Scratch<T>::bytes(s);
  Tensor workspace = Tensor::empty({omp_get_max_threads(), bytes}, DType::u8);
  auto* memory = static_cast<std::byte*>(workspace.raw());
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t n = 0; n < s.N; ++n)
    for (int64_t h = 0; h < s.H; ++h) f(Head(s, n, h), Scratch<T>(memory + omp_get_thread_num() * bytes, s));
}

/// The vectors of one head (whole(T),E), side by side.
template <class T>
void gather(const T* from, int64_t stride, const AttentionSizes& s, T* to) {
  for (int64_t t = 0; t < s.T; ++t) std::copy_n(from + t * stride, s.E, to + t * s.E);
  std::fill(to + s.T * s.E, to + whole(s.T) * s.E, T{});
}

template <class T>
void gather_projections(const T* in, const Head& head, const AttentionSizes& s, const Scratch<T>& x) {
  gather(in + head.qkv, head.stride, s, x.q);
  gather(in + head.qkv + head.k, head.stride, s, x.k);
  gather(in + head.qkv + head.v, head.stride, s, x.v);
}

/// One vector to its place.
template <class T>
void put(const float* from, float scale, int64_t E, T* to) {
#pragma omp simd
  for (int64_t e = 0; e < E; ++e) store(scale * from[e], to[e]);
}

template <class T>
void scatter(const float* from, const AttentionSizes& s, int64_t stride, T* to) {
  for (int64_t t = 0; t < s.T; ++t) put(from + t * s.E, 1.0f, s.E, to + t * stride);
}

template <class T>
MatrixView<T> rows_of(const T* data, int64_t width) {
  return {data, width, 1};
}

/// A row's scores of keys that are not visible, as far as its whole vectors reach; returns how far that is.
int64_t mask(float* row, int64_t visible) {
  std::fill(row + visible, row + whole(visible), -std::numeric_limits<float>::infinity());
  return whole(visible);
}

/// row = exp(scale row − shift), of whole vectors.
RowSum<float> softmax_scores(float* row, int64_t count, float scale) {
  const auto* lanes = reinterpret_cast<const Lanes*>(row);
  Lanes most = lanes[0], sums = {};
  for (int64_t i = 1; i < count / kLanes; ++i) most = lanes[i] > most ? lanes[i] : most;
  const float shift = finite_shift(scale * across(most, larger));
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) row[j] = math::exp(scale * row[j] - shift);
  for (int64_t i = 0; i < count / kLanes; ++i) sums += lanes[i];
  return {shift, across(sums, plus)};
}

/// A block of scores as factors; in a pass of its own, which is twice as fast as rounding them as they are made.
void round_block(const float* scores, int64_t count, bf16* factors) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(scores[i], factors[i]);
}
void round_block(const float*, int64_t, float*) {}  // the same memory

template <class T>
void forward(const AttentionSizes& s, const Tensor& qkv, Tensor& y, float* lse, float scale, bool causal) {
  const T* in = qkv.data<T>();
  T* out = y.data<T>();
  for_each_head<T>(s, [=](const Head& head, const Scratch<T>& x) {
    gather_projections(in, head, s, x);
    const MatrixView<T> k = rows_of(x.k, s.E), v = rows_of(x.v, s.E);
    float sums[kQueries];
    for (int64_t t = 0; t < s.T; t += kQueries) {
      const int64_t queries = std::min(kQueries, s.T - t), keys = whole(causal ? t + queries : s.T);
      multiply_small(queries, keys, s.E, rows_of(x.q + t * s.E, s.E), k.transposed(), x.scores, false);
      for (int64_t i = 0; i < queries; ++i) {
        float* row = x.scores + i * keys;
        const int64_t reach = mask(row, causal ? t + i + 1 : s.T);
        const RowSum<float> sum = softmax_scores(row, reach, scale);
        std::fill(row + reach, row + keys, 0.0f);
        lse[head.lse + t + i] = sum.logsumexp();
        sums[i] = sum.sum;
      }
      round_block(x.scores, queries * keys, x.P);
      multiply_small(queries, s.E, keys, rows_of(x.P, keys), v, x.dq, false);
      for (int64_t i = 0; i < queries; ++i)
        put(x.dq + i * s.E, 1 / sums[i], s.E, out + head.out + (t + i) * head.out_stride);
    }
  });
}

/// scores ← P = exp(scale scores − lse), zero where the key is not visible, and dscores ← dS = scale P (dscores −
/// dy·y), row by row; y's vectors are `stride` apart.
template <class T>
void backward_scores(const Scratch<T>& x, const T* y, int64_t stride, const float* lse, const AttentionSizes& s,
                     int64_t t, int64_t queries, int64_t keys, float scale, bool causal) {
  for (int64_t i = 0; i < queries; ++i) {
    float *row = x.scores + i * keys, *drow = x.dscores + i * keys;
    const int64_t visible = causal ? t + i + 1 : s.T, reach = mask(row, visible);
    const float l = lse[t + i], correction = dot(x.dy + (t + i) * s.E, y + (t + i) * stride, s.E);
#pragma omp simd
    for (int64_t j = 0; j < reach; ++j) {
      row[j] = math::exp(scale * row[j] - l);
      drow[j] = scale * row[j] * (drow[j] - correction);
    }
    std::fill(row + reach, row + keys, 0.0f);
    std::fill(drow + visible, drow + keys, 0.0f);
  }
  round_block(x.scores, queries * keys, x.P);
  round_block(x.dscores, queries * keys, x.dS);
}

template <class T>
void backward(const AttentionSizes& s, const Tensor& dy, const Tensor& qkv, const Tensor& y, const float* lse,
              Tensor& dqkv, float scale, bool causal) {
  const T *g = dy.data<T>(), *in = qkv.data<T>(), *out = y.data<T>();
  T* to = dqkv.data<T>();
  for_each_head<T>(s, [=](const Head& head, const Scratch<T>& x) {
    gather_projections(in, head, s, x);
    gather(g + head.out, head.out_stride, s, x.dy);
    const MatrixView<T> k = rows_of(x.k, s.E), v = rows_of(x.v, s.E);
    // Last block first: under a causal mask it alone reaches every key, so the others can add to dk and dv.
    for (int64_t t = (s.T - 1) / kQueries * kQueries; t >= 0; t -= kQueries) {
      const int64_t queries = std::min(kQueries, s.T - t), keys = whole(causal ? t + queries : s.T);
      const bool later = t + queries < s.T;
      const MatrixView<T> q = rows_of(x.q + t * s.E, s.E), dyt = rows_of(x.dy + t * s.E, s.E);
      multiply_small(queries, keys, s.E, q, k.transposed(), x.scores, false);
      multiply_small(queries, keys, s.E, dyt, v.transposed(), x.dscores, false);
      backward_scores(x, out + head.out, head.out_stride, lse + head.lse, s, t, queries, keys, scale, causal);
      const MatrixView<T> P = rows_of(x.P, keys), dS = rows_of(x.dS, keys);
      multiply_small(queries, s.E, keys, dS, k, x.dq + t * s.E, false);
      multiply_small(keys, s.E, queries, dS.transposed(), q, x.dk, later);
      multiply_small(keys, s.E, queries, P.transposed(), dyt, x.dv, later);
    }
    scatter(x.dq, s, head.stride, to + head.qkv);
    scatter(x.dk, s, head.stride, to + head.qkv + head.k);
    scatter(x.dv, s, head.stride, to + head.qkv + head.v);
  });
}

void attention_forward(const Tensor& qkv, Tensor& y, Tensor& lse, double scale, bool causal) {
  if (y.numel() == 0) return;
  detail::Widened<Tensor&> wide(lse);
  const auto run = qkv.dtype() == DType::bf16 ? forward<bf16> : forward<float>;
  run(attention_sizes(qkv), qkv, y, wide.get().data<float>(), static_cast<float>(scale), causal);
  wide.finish();
}

void attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse, Tensor& dqkv,
                        double scale, bool causal) {
  if (y.numel() == 0) return;
  const detail::Widened<const Tensor&> wide(lse);
  const auto run = qkv.dtype() == DType::bf16 ? backward<bf16> : backward<float>;
  run(attention_sizes(qkv), dy, qkv, y, wide.get().data<float>(), dqkv, static_cast<float>(scale), causal);
}

const bool stores = onednn::has_bf16_instructions();

[[maybe_unused]] const bool registered = kernel::attention_forward.tune(Device::cpu, attention_forward, stores) &&
                                         kernel::attention_backward.tune(Device::cpu, attention_backward, stores);

}  // namespace
}  // namespace sked::cpu
