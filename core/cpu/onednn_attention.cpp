// Attention by matrix products, one image and head a thread, a block of queries at a time: the block of scores stays in
// cache, and nothing of size T² is kept. The products are oneDNN's, on the packed projections where they lie.

#include <omp.h>

#include <algorithm>

#include "core/cpu/onednn_gemm.h"
#include "core/cpu/softmax_rows.h"
#include "core/kernels/attention.h"

namespace sked::cpu {
namespace {

using onednn::sgemm;

constexpr int64_t kQueries = 256;

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

/// f(head) for every image and head, in parallel; each call has its own scratch of `scratch` elements.
template <class F>
void for_each_head(const AttentionSizes& s, int64_t scratch, F&& f) {
  Tensor workspace = Tensor::empty({omp_get_max_threads(), scratch});
  float* memory = workspace.data<float>();
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t n = 0; n < s.N; ++n)
    for (int64_t h = 0; h < s.H; ++h) f(Head(s, n, h), memory + omp_get_thread_num() * scratch);
}

void attention_forward(const Tensor& qkv, Tensor& y, Tensor& lse, double scale, bool causal) {
  const AttentionSizes s = attention_sizes(qkv);
  const float *in = qkv.data<float>(), alpha = static_cast<float>(scale);
  float *out = y.data<float>(), *l = lse.data<float>();
  if (y.numel() == 0) return;
  for_each_head(s, std::min(kQueries, s.T) * s.T, [=](const Head& head, float* p) {
    const float* q = in + head.qkv;
    for (int64_t t = 0; t < s.T; t += kQueries) {
      const int64_t queries = std::min(kQueries, s.T - t), keys = causal ? t + queries : s.T;
      sgemm(queries, keys, s.E, alpha, {q + t * head.stride, head.stride, 1}, {q + head.k, 1, head.stride}, p, keys,
            false);
      for (int64_t i = 0; i < queries; ++i) {
        float* row = p + i * keys;
        const int64_t visible = causal ? t + i + 1 : keys;
        l[head.lse + t + i] = softmax_row(row, visible, 1.0f, row);
        std::fill(row + visible, row + keys, 0.0f);
      }
      sgemm(queries, s.E, keys, 1.0f, {p, keys, 1}, {q + head.v, head.stride, 1}, out + head.out + t * head.out_stride,
            head.out_stride, false);
    }
  });
}

/// p ← P = exp(p − lse), zero where the key is not visible, and dp ← scale P (dp − dy·y), row by row.
void backward_scores(const float* dy, const float* y, const float* lse, const AttentionSizes& s, const Head& head,
                     int64_t t, int64_t queries, int64_t keys, float scale, bool causal, float* p, float* dp) {
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t at = head.out + (t + i) * head.out_stride, visible = causal ? t + i + 1 : keys;
    const float l = lse[head.lse + t + i];
    float correction = 0, *row = p + i * keys, *drow = dp + i * keys;
#pragma omp simd reduction(+ : correction)
    for (int64_t e = 0; e < s.E; ++e) correction += dy[at + e] * y[at + e];
#pragma omp simd
    for (int64_t j = 0; j < visible; ++j) {
      row[j] = math::exp(row[j] - l);
      drow[j] = scale * row[j] * (drow[j] - correction);
    }
    std::fill(row + visible, row + keys, 0.0f);
    std::fill(drow + visible, drow + keys, 0.0f);
  }
}

void attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse, Tensor& dqkv,
                        double scale, bool causal) {
  const AttentionSizes s = attention_sizes(qkv);
  const float *g = dy.data<float>(), *in = qkv.data<float>(), *out = y.data<float>(), *l = lse.data<float>();
  const float alpha = static_cast<float>(scale);
  float* to = dqkv.data<float>();
  if (y.numel() == 0) return;
  const int64_t scores = std::min(kQueries, s.T) * s.T;
  for_each_head(s, 2 * scores, [=](const Head& head, float* p) {
    float *dp = p + scores, *dq = to + head.qkv;
    const float *q = in + head.qkv, *gh = g + head.out;
    // Last block first: under a causal mask it alone reaches every key, so the others can add to dk and dv.
    for (int64_t t = (s.T - 1) / kQueries * kQueries; t >= 0; t -= kQueries) {
      const int64_t queries = std::min(kQueries, s.T - t), keys = causal ? t + queries : s.T;
      const bool later = t + queries < s.T;
      const MatrixView<float> qt{q + t * head.stride, head.stride, 1}, gt{gh + t * head.out_stride, head.out_stride, 1};
      const MatrixView<float> k{q + head.k, head.stride, 1}, v{q + head.v, head.stride, 1};
      sgemm(queries, keys, s.E, alpha, qt, k.transposed(), p, keys, false);
      sgemm(queries, keys, s.E, 1.0f, gt, v.transposed(), dp, keys, false);
      backward_scores(g, out, l, s, head, t, queries, keys, alpha, causal, p, dp);
      const MatrixView<float> P{p, keys, 1}, dS{dp, keys, 1};
      sgemm(queries, s.E, keys, 1.0f, dS, k, dq + t * head.stride, head.stride, false);
      sgemm(keys, s.E, queries, 1.0f, dS.transposed(), qt, dq + head.k, head.stride, later);
      sgemm(keys, s.E, queries, 1.0f, P.transposed(), gt, dq + head.v, head.stride, later);
    }
  });
}

[[maybe_unused]] const bool registered = kernel::attention_forward.tune(Device::cpu, attention_forward) &&
                                         kernel::attention_backward.tune(Device::cpu, attention_backward);

}  // namespace
}  // namespace sked::cpu
