// Attention by matrix products, one image and head a thread, a block of queries at a time: the block of scores stays in
// cache, and nothing of size T² is kept. The products are oneDNN's, on the packed projections where they lie.

#include <omp.h>

#include <algorithm>

#include "core/cpu/onednn_bf16.h"
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

void attention_forward_f32(const AttentionSizes& s, const float* in, float* out, float* l, float alpha, bool causal) {
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

void attention_backward_f32(const AttentionSizes& s, const float* g, const float* in, const float* out, const float* l,
                            float* to, float alpha, bool causal) {
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

// ---- projections in bf16: products of factors in bf16, scores in f32 ------------------------------

constexpr onednn::Factor rows_of(const bf16* data) { return {data, DType::bf16, false}; }
constexpr onednn::Factor columns_of(const bf16* data) { return {data, DType::bf16, true}; }

/// The vectors of one head (T,E), side by side.
void gather(const bf16* from, int64_t stride, const AttentionSizes& s, bf16* to) {
  for (int64_t t = 0; t < s.T; ++t) std::copy_n(from + t * stride, s.E, to + t * s.E);
}

void scatter(const float* from, const AttentionSizes& s, int64_t stride, bf16* to) {
  for (int64_t t = 0; t < s.T; ++t) {
#pragma omp simd
    for (int64_t e = 0; e < s.E; ++e) store(from[t * s.E + e], to[t * stride + e]);
  }
}

/// What one head works in: scores and their gradients of a block of queries, in f32 and rounded; dq, dk, dv, or y for
/// dq; q, k, v, dy.
struct Scratch {
  float *p, *dp, *dq, *dk, *dv;
  bf16 *P, *dS, *q, *k, *v, *dy;

  static int64_t block(const AttentionSizes& s) { return std::min(kQueries, s.T) * s.T; }
  static int64_t floats(const AttentionSizes& s) { return 3 * block(s) + 5 * s.T * s.E; }
  Scratch(float* memory, const AttentionSizes& s)
      : p(memory),
        dp(p + block(s)),
        dq(dp + block(s)),
        dk(dq + s.T * s.E),
        dv(dk + s.T * s.E),
        P(reinterpret_cast<bf16*>(dv + s.T * s.E)),
        dS(P + block(s)),
        q(dS + block(s)),
        k(q + s.T * s.E),
        v(k + s.T * s.E),
        dy(v + s.T * s.E) {}
};

void gather_projections(const bf16* in, const Head& head, const AttentionSizes& s, const Scratch& x) {
  gather(in + head.qkv, head.stride, s, x.q);
  gather(in + head.qkv + head.k, head.stride, s, x.k);
  gather(in + head.qkv + head.v, head.stride, s, x.v);
}

void attention_forward_bf16(const AttentionSizes& s, const bf16* in, bf16* out, float* lse, float scale, bool causal) {
  for_each_head(s, Scratch::floats(s), [=](const Head& head, float* memory) {
    const Scratch x(memory, s);
    gather_projections(in, head, s, x);
    for (int64_t t = 0; t < s.T; t += kQueries) {
      const int64_t queries = std::min(kQueries, s.T - t), keys = causal ? t + queries : s.T;
      onednn::multiply_bf16(queries, keys, s.E, rows_of(x.q + t * s.E), columns_of(x.k), {x.p, DType::f32});
      for (int64_t i = 0; i < queries; ++i) {
        float* row = x.p + i * keys;
        const int64_t visible = causal ? t + i + 1 : keys;
        lse[head.lse + t + i] = softmax_row(row, visible, scale, row);
        std::fill(row + visible, row + keys, 0.0f);
#pragma omp simd
        for (int64_t j = 0; j < keys; ++j) store(row[j], x.P[i * keys + j]);
      }
      onednn::multiply_bf16(queries, s.E, keys, rows_of(x.P), rows_of(x.v), {x.dq + t * s.E, DType::f32});
    }
    scatter(x.dq, s, head.out_stride, out + head.out);
  });
}

/// As backward_scores, rounded: P = exp(scale p − lse) and dS = scale P (dp − dy·y); y's vectors are `stride` apart.
void backward_scores_bf16(const Scratch& x, const bf16* y, int64_t stride, const float* lse, const AttentionSizes& s,
                          int64_t t, int64_t queries, int64_t keys, float scale, bool causal) {
  for (int64_t i = 0; i < queries; ++i) {
    const bf16 *dy_row = x.dy + (t + i) * s.E, *y_row = y + (t + i) * stride;
    const int64_t visible = causal ? t + i + 1 : keys;
    const float *row = x.p + i * keys, *drow = x.dp + i * keys, l = lse[t + i];
    bf16 *P = x.P + i * keys, *dS = x.dS + i * keys;
    float correction = 0;
#pragma omp simd reduction(+ : correction)
    for (int64_t e = 0; e < s.E; ++e) correction += static_cast<float>(dy_row[e]) * static_cast<float>(y_row[e]);
#pragma omp simd
    for (int64_t j = 0; j < visible; ++j) {
      const float p = math::exp(scale * row[j] - l);
      store(p, P[j]);
      store(scale * p * (drow[j] - correction), dS[j]);
    }
    std::fill(P + visible, P + keys, bf16{});
    std::fill(dS + visible, dS + keys, bf16{});
  }
}

void attention_backward_bf16(const AttentionSizes& s, const bf16* g, const bf16* in, const bf16* y, const float* lse,
                             bf16* to, float scale, bool causal) {
  for_each_head(s, Scratch::floats(s), [=](const Head& head, float* memory) {
    const Scratch x(memory, s);
    gather_projections(in, head, s, x);
    gather(g + head.out, head.out_stride, s, x.dy);
    for (int64_t t = (s.T - 1) / kQueries * kQueries; t >= 0; t -= kQueries) {  // as in f32
      const int64_t queries = std::min(kQueries, s.T - t), keys = causal ? t + queries : s.T, at = t * s.E;
      const bool later = t + queries < s.T;
      onednn::multiply_bf16(queries, keys, s.E, rows_of(x.q + at), columns_of(x.k), {x.p, DType::f32});
      onednn::multiply_bf16(queries, keys, s.E, rows_of(x.dy + at), columns_of(x.v), {x.dp, DType::f32});
      backward_scores_bf16(x, y + head.out, head.out_stride, lse + head.lse, s, t, queries, keys, scale, causal);
      onednn::multiply_bf16(queries, s.E, keys, rows_of(x.dS), rows_of(x.k), {x.dq + at, DType::f32});
      onednn::multiply_bf16(keys, s.E, queries, columns_of(x.dS), rows_of(x.q + at), {x.dk, DType::f32, later});
      onednn::multiply_bf16(keys, s.E, queries, columns_of(x.P), rows_of(x.dy + at), {x.dv, DType::f32, later});
    }
    scatter(x.dq, s, head.stride, to + head.qkv);
    scatter(x.dk, s, head.stride, to + head.qkv + head.k);
    scatter(x.dv, s, head.stride, to + head.qkv + head.v);
  });
}

// ---- either --------------------------------------------------------------------------------------

void attention_forward(const Tensor& qkv, Tensor& y, Tensor& lse, double scale, bool causal) {
  if (y.numel() == 0) return;
  const AttentionSizes s = attention_sizes(qkv);
  const auto alpha = static_cast<float>(scale);
  detail::Widened<Tensor&> wide(lse);
  float* l = wide.get().data<float>();
  if (qkv.dtype() == DType::bf16)
    attention_forward_bf16(s, qkv.data<bf16>(), y.data<bf16>(), l, alpha, causal);
  else
    attention_forward_f32(s, qkv.data<float>(), y.data<float>(), l, alpha, causal);
  wide.finish();
}

void attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse, Tensor& dqkv,
                        double scale, bool causal) {
  if (y.numel() == 0) return;
  const AttentionSizes s = attention_sizes(qkv);
  const auto alpha = static_cast<float>(scale);
  const detail::Widened<const Tensor&> wide(lse);
  const float* l = wide.get().data<float>();
  if (qkv.dtype() == DType::bf16)
    attention_backward_bf16(s, dy.data<bf16>(), qkv.data<bf16>(), y.data<bf16>(), l, dqkv.data<bf16>(), alpha, causal);
  else
    attention_backward_f32(s, dy.data<float>(), qkv.data<float>(), y.data<float>(), l, dqkv.data<float>(), alpha,
                           causal);
}

const bool stores = onednn::has_bf16_instructions();

[[maybe_unused]] const bool registered = kernel::attention_forward.tune(Device::cpu, attention_forward, stores) &&
                                         kernel::attention_backward.tune(Device::cpu, attention_backward, stores);

}  // namespace
}  // namespace sked::cpu
