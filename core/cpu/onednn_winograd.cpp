// An output tile y (2×2) of one channel pair is Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, with the filter g (3×3), the input tile d
// (4×4, overlapping its neighbors by two) and
//
//        1  0 −1  0           1  0  0
//   Bᵀ = 0  1  1  0      G =  ½  ½  ½      Aᵀ = 1  1  1  0
//        0 −1  1  0           ½ −½  ½           0  1 −1 −1
//        0  1  0 −1           0  0  1
//
// The sum over input channels goes inside the brackets, so that each of the 16 positions ξ of a 4×4 tile is a matrix
// product over a block of T tiles:  M[ξ] (T,O) = V[ξ] (T,I) U[ξ]ᵀ,  U[ξ] (O,I).
//   forward          V = Bᵀ x B, U = G w Gᵀ, y = Aᵀ M A
//   backward, input  the forward pass of dy with the filters rotated by 180° and their channels exchanged
//   backward, weight the adjoint in w: dU[ξ] = Σ_t (A dy Aᵀ)[ξ]ᵀ V[ξ], dw = Gᵀ dU G

#include "core/cpu/onednn_winograd.h"

#include <algorithm>

#include "core/cpu/onednn_gemm.h"
#include "core/cpu/parallel.h"

namespace sked::cpu {
namespace {

using onednn::sgemm;

constexpr int64_t kPositions = 16;  // ξ
constexpr int64_t kFewestChannels = 16;
/// Tiles of a block: V and M of this many bytes stay in the outer caches, but a product has at least kFewestTiles rows.
constexpr int64_t kBlockBytes = 2 << 20, kFewestTiles = 128;

// ---- the three transforms in one dimension, and their adjoints -----------------------------------

struct Two {
  float a, b;
};
struct Three {
  float a, b, c;
};
struct Four {
  float a, b, c, d;
};

inline Four input_transform(Four x) { return {x.a - x.c, x.b + x.c, x.c - x.b, x.b - x.d}; }  // Bᵀ x
inline Two output_transform(Four m) { return {m.a + m.b + m.c, m.b - m.c - m.d}; }            // Aᵀ m
inline Four output_adjoint(Two y) { return {y.a, y.a + y.b, y.a - y.b, -y.b}; }               // A y
inline Four filter_transform(Three g) {                                                       // G g
  const float even = 0.5f * (g.a + g.c), odd = 0.5f * g.b;
  return {g.a, even + odd, even - odd, g.c};
}
inline Three filter_adjoint(Four u) {  // Gᵀ u
  const float even = 0.5f * (u.b + u.c);
  return {u.a + even, 0.5f * (u.b - u.c), even + u.d};
}

// ---- tiles ---------------------------------------------------------------------------------------

/// The 2×2 tiles that cover images (N,H,W,C), numbered row by row.
struct Tiling {
  int64_t N, H, W, rows, cols;

  explicit Tiling(const ConvSizes& s) : N(s.N), H(s.H), W(s.W), rows((s.H + 1) / 2), cols((s.W + 1) / 2) {}
  int64_t count() const { return N * rows * cols; }

  /// Calls f(i, pixel) for the `size`×`size` pixels i of tile t from its corner moved by `offset`; pixel is −1 outside
  /// the image.
  template <class F>
  void for_each_pixel(int64_t t, int64_t offset, int64_t size, F&& f) const {
    const int64_t n = t / (rows * cols), top = t / cols % rows * 2 + offset, left = t % cols * 2 + offset;
    for (int64_t r = 0; r < size; ++r)
      for (int64_t c = 0; c < size; ++c) {
        const int64_t h = top + r, w = left + c;
        const bool inside = h >= 0 && h < H && w >= 0 && w < W;
        f(r * size + c, inside ? (n * H + h) * W + w : -1);
      }
  }
};

/// v[ξ·step + c] = (Bᵀ d B)[ξ] of tile t of x, for every channel c; `zeros` (C) stands for pixels outside.
void read_input_tile(const Tiling& tiling, int64_t t, const float* x, int64_t C, const float* zeros, float* v,
                     int64_t step) {
  const float* d[16];
  tiling.for_each_pixel(t, -1, 4, [&](int64_t i, int64_t pixel) { d[i] = pixel < 0 ? zeros : x + pixel * C; });
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const Four c0 = input_transform({d[0][c], d[4][c], d[8][c], d[12][c]});
    const Four c1 = input_transform({d[1][c], d[5][c], d[9][c], d[13][c]});
    const Four c2 = input_transform({d[2][c], d[6][c], d[10][c], d[14][c]});
    const Four c3 = input_transform({d[3][c], d[7][c], d[11][c], d[15][c]});
    const Four r0 = input_transform({c0.a, c1.a, c2.a, c3.a}), r1 = input_transform({c0.b, c1.b, c2.b, c3.b});
    const Four r2 = input_transform({c0.c, c1.c, c2.c, c3.c}), r3 = input_transform({c0.d, c1.d, c2.d, c3.d});
    v[c] = r0.a, v[step + c] = r0.b, v[2 * step + c] = r0.c, v[3 * step + c] = r0.d;
    v[4 * step + c] = r1.a, v[5 * step + c] = r1.b, v[6 * step + c] = r1.c, v[7 * step + c] = r1.d;
    v[8 * step + c] = r2.a, v[9 * step + c] = r2.b, v[10 * step + c] = r2.c, v[11 * step + c] = r2.d;
    v[12 * step + c] = r3.a, v[13 * step + c] = r3.b, v[14 * step + c] = r3.c, v[15 * step + c] = r3.d;
  }
}

/// v[ξ·step + c] = (A dy Aᵀ)[ξ] of tile t of dy.
void read_gradient_tile(const Tiling& tiling, int64_t t, const float* dy, int64_t C, const float* zeros, float* v,
                        int64_t step) {
  const float* d[4];
  tiling.for_each_pixel(t, 0, 2, [&](int64_t i, int64_t pixel) { d[i] = pixel < 0 ? zeros : dy + pixel * C; });
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const Four c0 = output_adjoint({d[0][c], d[2][c]}), c1 = output_adjoint({d[1][c], d[3][c]});
    const Four r0 = output_adjoint({c0.a, c1.a}), r1 = output_adjoint({c0.b, c1.b});
    const Four r2 = output_adjoint({c0.c, c1.c}), r3 = output_adjoint({c0.d, c1.d});
    v[c] = r0.a, v[step + c] = r0.b, v[2 * step + c] = r0.c, v[3 * step + c] = r0.d;
    v[4 * step + c] = r1.a, v[5 * step + c] = r1.b, v[6 * step + c] = r1.c, v[7 * step + c] = r1.d;
    v[8 * step + c] = r2.a, v[9 * step + c] = r2.b, v[10 * step + c] = r2.c, v[11 * step + c] = r2.d;
    v[12 * step + c] = r3.a, v[13 * step + c] = r3.b, v[14 * step + c] = r3.c, v[15 * step + c] = r3.d;
  }
}

/// Tile t of y = Aᵀ m A [+ bias]; `nowhere` (C) takes what falls outside.
void write_output_tile(const Tiling& tiling, int64_t t, const float* m, int64_t step, const float* bias, int64_t C,
                       float* nowhere, float* y) {
  float* to[4];
  tiling.for_each_pixel(t, 0, 2, [&](int64_t i, int64_t pixel) { to[i] = pixel < 0 ? nowhere : y + pixel * C; });
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const Two c0 = output_transform({m[c], m[4 * step + c], m[8 * step + c], m[12 * step + c]});
    const Two c1 = output_transform({m[step + c], m[5 * step + c], m[9 * step + c], m[13 * step + c]});
    const Two c2 = output_transform({m[2 * step + c], m[6 * step + c], m[10 * step + c], m[14 * step + c]});
    const Two c3 = output_transform({m[3 * step + c], m[7 * step + c], m[11 * step + c], m[15 * step + c]});
    const Two r0 = output_transform({c0.a, c1.a, c2.a, c3.a}), r1 = output_transform({c0.b, c1.b, c2.b, c3.b});
    to[0][c] = r0.a, to[1][c] = r0.b, to[2][c] = r1.a, to[3][c] = r1.b;
  }
  if (!bias) return;
  for (float* pixel : to) {
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) pixel[c] += bias[c];
  }
}

// ---- filters -------------------------------------------------------------------------------------

/// U (16,O,I) of w (O,I,3,3); `rotated`: of the filters rotated by 180°.
Tensor filter_spectrum(const float* w, int64_t O, int64_t I, bool rotated) {
  Tensor spectrum = Tensor::empty({kPositions, O, I});
  float* u = spectrum.data<float>();
#pragma omp parallel for schedule(static) if (O * I > kHeavy)
  for (int64_t oi = 0; oi < O * I; ++oi) {
    const float* g = w + 9 * oi;
    const auto at = [&](int i) { return rotated ? g[8 - i] : g[i]; };
    Four columns[3];
    for (int s = 0; s < 3; ++s) columns[s] = filter_transform({at(s), at(3 + s), at(6 + s)});
    const float Four::*const parts[] = {&Four::a, &Four::b, &Four::c, &Four::d};
    for (int r = 0; r < 4; ++r) {
      const Four row = filter_transform({columns[0].*parts[r], columns[1].*parts[r], columns[2].*parts[r]});
      for (int s = 0; s < 4; ++s) u[(4 * r + s) * O * I + oi] = row.*parts[s];
    }
  }
  return spectrum;
}

/// dw (O,I,3,3) = Gᵀ dU G.
void filter_gradient(const float* du, int64_t O, int64_t I, float* dw) {
#pragma omp parallel for schedule(static) if (O * I > kHeavy)
  for (int64_t oi = 0; oi < O * I; ++oi) {
    const auto at = [&](int position) { return du[position * O * I + oi]; };
    Three columns[4];
    for (int s = 0; s < 4; ++s) columns[s] = filter_adjoint({at(s), at(4 + s), at(8 + s), at(12 + s)});
    const float Three::*const parts[] = {&Three::a, &Three::b, &Three::c};
    for (int r = 0; r < 3; ++r) {
      const auto part = parts[r];
      const Three row = filter_adjoint({columns[0].*part, columns[1].*part, columns[2].*part, columns[3].*part});
      for (int s = 0; s < 3; ++s) dw[9 * oi + 3 * r + s] = row.*parts[s];
    }
  }
}

// ---- blocks of tiles -----------------------------------------------------------------------------

int64_t block_tiles(const Tiling& tiling, int64_t in, int64_t out) {
  const int64_t bytes = kPositions * (in + out) * static_cast<int64_t>(sizeof(float));
  return std::min(tiling.count(), std::max(kFewestTiles, kBlockBytes / bytes));
}

/// y (N,H,W,out) from x (N,H,W,in): a block of tiles a thread. `u` is (16,out,in), or (16,in,out) when `exchanged`.
void convolve(const Tiling& tiling, const float* x, int64_t in, const float* u, bool exchanged, const float* bias,
              int64_t out, float* y) {
  const int64_t T = block_tiles(tiling, in, out), blocks = (tiling.count() + T - 1) / T;
  const int64_t per_thread = kPositions * T * (in + out) + in + out;  // V, M, zeros, nowhere
  Tensor scratch = Tensor::empty({omp_get_max_threads(), per_thread});
#pragma omp parallel
  {
    float* v = scratch.data<float>() + omp_get_thread_num() * per_thread;
    float *m = v + kPositions * T * in, *zeros = m + kPositions * T * out, *nowhere = zeros + in;
    std::fill_n(zeros, in, 0.0f);
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * T, count = std::min(T, tiling.count() - first);
      for (int64_t t = 0; t < count; ++t) read_input_tile(tiling, first + t, x, in, zeros, v + t * in, T * in);
      for (int64_t p = 0; p < kPositions; ++p) {
        const float* filters = u + p * in * out;
        sgemm(count, out, in, 1.0f, {v + p * T * in, in, 1},
              exchanged ? MatrixView<float>{filters, out, 1} : MatrixView<float>{filters, 1, in}, m + p * T * out, out,
              false);
      }
      for (int64_t t = 0; t < count; ++t)
        write_output_tile(tiling, first + t, m + t * out, T * out, bias, out, nowhere, y);
    }
  }
}

}  // namespace

bool winograd_suits(const ConvSizes& s, const Window& window) {
  return window.kernel == 3 && window.stride == 1 && window.padding == 1 && window.groups == 1 &&
         s.I >= kFewestChannels && s.O >= kFewestChannels;
}

void winograd_forward(const ConvSizes& s, const float* x, const float* w, const float* bias, float* y) {
  const Tensor u = filter_spectrum(w, s.O, s.I, false);
  convolve(Tiling(s), x, s.I, u.data<float>(), false, bias, s.O, y);
}

void winograd_backward_input(const ConvSizes& s, const float* dy, const float* w, float* dx) {
  const Tensor u = filter_spectrum(w, s.O, s.I, true);
  convolve(Tiling(s), dy, s.O, u.data<float>(), true, nullptr, s.I, dx);
}

void winograd_backward_weight(const ConvSizes& s, const float* dy, const float* x, float* dw) {
  const Tiling tiling(s);
  const int64_t T = block_tiles(tiling, s.I, s.O);
  Tensor du = Tensor::empty({kPositions, s.O, s.I}), scratch = Tensor::empty({kPositions * T * (s.I + s.O)});
  const Tensor zeros = Tensor::zeros({std::max(s.I, s.O)});
  float *v = scratch.data<float>(), *e = v + kPositions * T * s.I;  // V of x; A dy Aᵀ
#pragma omp parallel
  for (int64_t first = 0; first < tiling.count(); first += T) {
    const int64_t count = std::min(T, tiling.count() - first);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < count; ++t) {
      read_input_tile(tiling, first + t, x, s.I, zeros.data<float>(), v + t * s.I, T * s.I);
      read_gradient_tile(tiling, first + t, dy, s.O, zeros.data<float>(), e + t * s.O, T * s.O);
    }
#pragma omp for schedule(static)
    for (int64_t p = 0; p < kPositions; ++p)
      sgemm(s.O, s.I, count, 1.0f, {e + p * T * s.O, 1, s.O}, {v + p * T * s.I, s.I, 1},
            du.data<float>() + p * s.O * s.I, s.I, first > 0);
  }
  filter_gradient(du.data<float>(), s.O, s.I, dw);
}

}  // namespace sked::cpu
