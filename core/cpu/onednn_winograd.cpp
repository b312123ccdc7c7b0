// An output tile y (2×2) of one channel pair is Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, with the filter g (3×3), the input tile d
// (4×4, overlapping its neighbors by two) and
//
//        1  0 −1  0           1  0  0
//   Bᵀ = 0  1  1  0      G =  ½  ½  ½      Aᵀ = 1  1  1  0
//        0 −1  1  0           ½ −½  ½           0  1 −1 −1
//        0  1  0 −1           0  0  1
//
// The sum over input channels goes inside the brackets, so that each of the 16 positions ξ of a 4×4 tile is a matrix
// product over a block of T tiles:  M[ξ] (T,O) = V[ξ] (T,I) U[ξ],  U[ξ] (I,O).
//   forward          V = Bᵀ x B, U = G w Gᵀ, y = Aᵀ M A
//   backward, input  the forward pass of dy with the filters rotated by 180° and their channels exchanged
//   backward, weight the adjoint in w: dU[ξ] = Σ_t (A dy Aᵀ)[ξ]ᵀ V[ξ], dw = Gᵀ dU G

#include "core/cpu/onednn_winograd.h"

#include <algorithm>
#include <vector>

#include "core/cpu/onednn.h"
#include "core/cpu/onednn_gemm.h"
#include "core/cpu/parallel.h"

namespace sked::cpu {
namespace {

constexpr int64_t kPositions = 16;  // ξ
constexpr int64_t kFewestChannels = 16,
                  kFewestRoundedChannels = 128;  // of f32; of bf16, whose products take half as long
/// Tiles of a block: V and M of this many bytes stay in the outer caches, but a product has at least kFewestTiles rows.
constexpr int64_t kBlockBytes = 4 << 20, kFewestTiles = 128;

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

/// v[ξ·step] = the 16 numbers of four rows.
template <class T>
[[gnu::always_inline]] inline void write_rows(Four r0, Four r1, Four r2, Four r3, T* v, int64_t step) {
  store(r0.a, v[0]), store(r0.b, v[step]), store(r0.c, v[2 * step]), store(r0.d, v[3 * step]);
  store(r1.a, v[4 * step]), store(r1.b, v[5 * step]), store(r1.c, v[6 * step]), store(r1.d, v[7 * step]);
  store(r2.a, v[8 * step]), store(r2.b, v[9 * step]), store(r2.c, v[10 * step]), store(r2.d, v[11 * step]);
  store(r3.a, v[12 * step]), store(r3.b, v[13 * step]), store(r3.c, v[14 * step]), store(r3.d, v[15 * step]);
}

/// v[ξ·step + c] = (Bᵀ d B)[ξ] of tile t of x, for every channel c; `zeros` (C) stands for pixels outside.
template <class T>
void read_input_tile(const Tiling& tiling, int64_t t, const T* x, int64_t C, const T* zeros, T* v, int64_t step) {
  const T* d[16];
  tiling.for_each_pixel(t, -1, 4, [&](int64_t i, int64_t pixel) { d[i] = pixel < 0 ? zeros : x + pixel * C; });
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const auto at = [&](int64_t i) { return float(d[i][c]); };
    const Four c0 = input_transform({at(0), at(4), at(8), at(12)}), c1 = input_transform({at(1), at(5), at(9), at(13)});
    const Four c2 = input_transform({at(2), at(6), at(10), at(14)}),
               c3 = input_transform({at(3), at(7), at(11), at(15)});
    write_rows(input_transform({c0.a, c1.a, c2.a, c3.a}), input_transform({c0.b, c1.b, c2.b, c3.b}),
               input_transform({c0.c, c1.c, c2.c, c3.c}), input_transform({c0.d, c1.d, c2.d, c3.d}), v + c, step);
  }
}

/// v[ξ·step + c] = (A dy Aᵀ)[ξ] of tile t of dy.
template <class T>
void read_gradient_tile(const Tiling& tiling, int64_t t, const T* dy, int64_t C, const T* zeros, T* v, int64_t step) {
  const T* d[4];
  tiling.for_each_pixel(t, 0, 2, [&](int64_t i, int64_t pixel) { d[i] = pixel < 0 ? zeros : dy + pixel * C; });
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const auto at = [&](int64_t i) { return float(d[i][c]); };
    const Four c0 = output_adjoint({at(0), at(2)}), c1 = output_adjoint({at(1), at(3)});
    write_rows(output_adjoint({c0.a, c1.a}), output_adjoint({c0.b, c1.b}), output_adjoint({c0.c, c1.c}),
               output_adjoint({c0.d, c1.d}), v + c, step);
  }
}

/// Tile t of y = Aᵀ m A [+ bias]; `nowhere` (C) takes what falls outside.
template <class T>
void write_output_tile(const Tiling& tiling, int64_t t, const float* m, int64_t step, const float* bias, int64_t C,
                       T* nowhere, T* y) {
  T* to[4];
  tiling.for_each_pixel(t, 0, 2, [&](int64_t i, int64_t pixel) { to[i] = pixel < 0 ? nowhere : y + pixel * C; });
#pragma omp simd
  for (int64_t c = 0; c < C; ++c) {
    const Two c0 = output_transform({m[c], m[4 * step + c], m[8 * step + c], m[12 * step + c]});
    const Two c1 = output_transform({m[step + c], m[5 * step + c], m[9 * step + c], m[13 * step + c]});
    const Two c2 = output_transform({m[2 * step + c], m[6 * step + c], m[10 * step + c], m[14 * step + c]});
    const Two c3 = output_transform({m[3 * step + c], m[7 * step + c], m[11 * step + c], m[15 * step + c]});
    const Two r0 = output_transform({c0.a, c1.a, c2.a, c3.a}), r1 = output_transform({c0.b, c1.b, c2.b, c3.b});
    const float shift = bias ? bias[c] : 0;
    store(r0.a + shift, to[0][c]), store(r0.b + shift, to[1][c]), store(r1.a + shift, to[2][c]),
        store(r1.b + shift, to[3][c]);
  }
}

// ---- filters -------------------------------------------------------------------------------------

/// A row of filters with a plane of numbers for each of their nine taps, which vectors want.
using Planes = std::vector<float>;

/// U (16,in,out) of w (O,I,3,3): of a forward convolution, in = I and out = O; of a backward one, in = O and out = I,
/// whose filters are rotated by 180°.
template <class T>
Tensor filter_spectrum(const float* w, int64_t O, int64_t I, bool backward) {
  const int64_t in = backward ? O : I, out = backward ? I : O, step = in * out;
  Tensor spectrum = Tensor::empty({kPositions, in, out}, dtype_of<T>);
  T* u = spectrum.data<T>();
#pragma omp parallel if (step > kHeavy)
  {
    Planes planes(static_cast<size_t>(9 * out));
    float* g = planes.data();
#pragma omp for schedule(static)
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t o = 0; o < out; ++o) {
        const float* filter = w + 9 * (backward ? i * I + o : o * I + i);
        for (int64_t k = 0; k < 9; ++k) g[k * out + o] = filter[backward ? 8 - k : k];
      }
      T* to = u + i * out;
#pragma omp simd
      for (int64_t o = 0; o < out; ++o) {
        const Four c0 = filter_transform({g[o], g[3 * out + o], g[6 * out + o]});
        const Four c1 = filter_transform({g[out + o], g[4 * out + o], g[7 * out + o]});
        const Four c2 = filter_transform({g[2 * out + o], g[5 * out + o], g[8 * out + o]});
        write_rows(filter_transform({c0.a, c1.a, c2.a}), filter_transform({c0.b, c1.b, c2.b}),
                   filter_transform({c0.c, c1.c, c2.c}), filter_transform({c0.d, c1.d, c2.d}), to + o, step);
      }
    }
  }
  return spectrum;
}

/// dw (O,I,3,3) = Gᵀ dU G.
void filter_gradient(const float* du, int64_t O, int64_t I, float* dw) {
#pragma omp parallel if (O * I > kHeavy)
  {
    Planes planes(static_cast<size_t>(9 * I));
    float* g = planes.data();
#pragma omp for schedule(static)
    for (int64_t o = 0; o < O; ++o) {
      const float* u = du + o * I;
      const int64_t step = O * I;
#pragma omp simd
      for (int64_t i = 0; i < I; ++i) {
        const auto column = [&](int64_t s) {
          return filter_adjoint(
              {u[s * step + i], u[(4 + s) * step + i], u[(8 + s) * step + i], u[(12 + s) * step + i]});
        };
        const Three c0 = column(0), c1 = column(1), c2 = column(2), c3 = column(3);
        const Three r0 = filter_adjoint({c0.a, c1.a, c2.a, c3.a}), r1 = filter_adjoint({c0.b, c1.b, c2.b, c3.b});
        const Three r2 = filter_adjoint({c0.c, c1.c, c2.c, c3.c});
        g[i] = r0.a, g[I + i] = r0.b, g[2 * I + i] = r0.c;
        g[3 * I + i] = r1.a, g[4 * I + i] = r1.b, g[5 * I + i] = r1.c;
        g[6 * I + i] = r2.a, g[7 * I + i] = r2.b, g[8 * I + i] = r2.c;
      }
      for (int64_t i = 0; i < I; ++i)
        for (int64_t k = 0; k < 9; ++k) dw[9 * (o * I + i) + k] = g[k * I + i];
    }
  }
}

// ---- products ------------------------------------------------------------------------------------

/// c[ξ] (M,N) = a[ξ] b[ξ] [+ c[ξ]] for positions [first, last); position ξ + 1 of an operand lies behind ξ's.
void multiply(int64_t first, int64_t last, int64_t M, int64_t N, int64_t Q, MatrixView<float> a, MatrixView<float> b,
              float* c, bool accumulate) {
  for (int64_t p = first; p < last; ++p)
    onednn::sgemm(M, N, Q, 1.0f, {a.data + p * M * Q, a.row, a.col}, {b.data + p * Q * N, b.row, b.col}, c + p * M * N,
                  N, accumulate);
}
void multiply(int64_t first, int64_t last, int64_t M, int64_t N, int64_t Q, MatrixView<bf16> a, MatrixView<bf16> b,
              float* c, bool accumulate) {
  static onednn::Cache<onednn::Operation, 7> cache;
  const int64_t count = last - first;
  if (count == 0) return;
  const onednn::Operation& product = cache.get({count, M, N, Q, a.col, b.col, accumulate}, [&] {
    const auto type = onednn::type_of(DType::bf16);
    return onednn::matmul(onednn::layout({count, M, Q}, {M * Q, a.row, a.col}, type),
                          onednn::layout({count, Q, N}, {Q * N, b.row, b.col}, type), {},
                          onednn::layout({count, M, N}, onednn::Tag::abc), accumulate);
  });
  product.run({{DNNL_ARG_SRC, a.data + first * M * Q},
               {DNNL_ARG_WEIGHTS, b.data + first * Q * N},
               {DNNL_ARG_DST, c + first * M * N}});
}

// ---- blocks of tiles -----------------------------------------------------------------------------

int64_t block_tiles(const Tiling& tiling, int64_t in, int64_t out) {
  const int64_t bytes = kPositions * (in + out) * static_cast<int64_t>(sizeof(float));
  return std::min(tiling.count(), std::max(kFewestTiles, kBlockBytes / bytes));
}

/// y (N,H,W,out) from x (N,H,W,in) and the filters' spectrum (16,in,out): a block of tiles a thread.
template <class T>
void convolve(const Tiling& tiling, const T* x, int64_t in, const Tensor& spectrum, const float* bias, int64_t out,
              T* y) {
  // Blocks enough for threads to share them evenly.
  constexpr int64_t kFewestBlocks = 16;
  const int64_t even = std::max(kFewestTiles, (tiling.count() + kFewestBlocks - 1) / kFewestBlocks);
  const int64_t tiles = std::min(block_tiles(tiling, in, out), even), blocks = (tiling.count() + tiles - 1) / tiles;
  const int64_t threads = omp_get_max_threads();
  Tensor transformed = Tensor::empty({threads, kPositions, tiles, in}, dtype_of<T>);
  Tensor products = Tensor::empty({threads, kPositions, tiles, out});
  const Tensor outside = Tensor::zeros({in}, dtype_of<T>);
  Tensor nowhere = Tensor::empty({threads, out}, dtype_of<T>);
  const MatrixView<T> filters{spectrum.data<T>(), out, 1};
#pragma omp parallel
  {
    const int64_t thread = omp_get_thread_num();
    T* v = transformed.data<T>() + thread * kPositions * tiles * in;
    float* m = products.data<float>() + thread * kPositions * tiles * out;
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * tiles, count = std::min(tiles, tiling.count() - first);
      for (int64_t t = 0; t < count; ++t)
        read_input_tile(tiling, first + t, x, in, outside.data<T>(), v + t * in, count * in);
      multiply(0, kPositions, count, out, in, {v, in, 1}, filters, m, false);
      for (int64_t t = 0; t < count; ++t)
        write_output_tile(tiling, first + t, m + t * out, count * out, bias, out, nowhere.data<T>() + thread * out, y);
    }
  }
}

}  // namespace

bool winograd_suits(const ConvSizes& s, const Window& window, DType dtype) {
  const int64_t fewest = dtype == DType::bf16 ? kFewestRoundedChannels : kFewestChannels;
  return window.kernel == 3 && window.stride == 1 && window.padding == 1 && window.groups == 1 && s.I >= fewest &&
         s.O >= fewest;
}

template <class T>
void winograd_forward(const ConvSizes& s, const T* x, const float* w, const float* bias, T* y) {
  convolve(Tiling(s), x, s.I, filter_spectrum<T>(w, s.O, s.I, false), bias, s.O, y);
}

template <class T>
void winograd_backward_input(const ConvSizes& s, const T* dy, const float* w, T* dx) {
  convolve(Tiling(s), dy, s.O, filter_spectrum<T>(w, s.O, s.I, true), nullptr, s.I, dx);
}

template <class T>
void winograd_backward_weight(const ConvSizes& s, const T* dy, const T* x, float* dw) {
  const Tiling tiling(s);
  const int64_t tiles = block_tiles(tiling, s.I, s.O);
  Tensor du = Tensor::empty({kPositions, s.O, s.I});
  Tensor of_x = Tensor::empty({kPositions, tiles, s.I}, dtype_of<T>);   // V
  Tensor of_dy = Tensor::empty({kPositions, tiles, s.O}, dtype_of<T>);  // A dy Aᵀ
  const Tensor zeros = Tensor::zeros({std::max(s.I, s.O)}, dtype_of<T>);
  T *v = of_x.data<T>(), *e = of_dy.data<T>();
#pragma omp parallel
  for (int64_t first = 0; first < tiling.count(); first += tiles) {
    const int64_t count = std::min(tiles, tiling.count() - first);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < count; ++t) {
      read_input_tile(tiling, first + t, x, s.I, zeros.data<T>(), v + t * s.I, count * s.I);
      read_gradient_tile(tiling, first + t, dy, s.O, zeros.data<T>(), e + t * s.O, count * s.O);
    }
#pragma omp for schedule(static)
    for (int64_t p = 0; p < kPositions; ++p)
      multiply(p, p + 1, s.O, s.I, count, {e, 1, s.O}, {v, s.I, 1}, du.data<float>(), first > 0);
  }
  filter_gradient(du.data<float>(), s.O, s.I, dw);
}

template void winograd_forward(const ConvSizes&, const float*, const float*, const float*, float*);
template void winograd_forward(const ConvSizes&, const bf16*, const float*, const float*, bf16*);
template void winograd_backward_input(const ConvSizes&, const float*, const float*, float*);
template void winograd_backward_input(const ConvSizes&, const bf16*, const float*, bf16*);
template void winograd_backward_weight(const ConvSizes&, const float*, const float*, float*);
template void winograd_backward_weight(const ConvSizes&, const bf16*, const bf16*, float*);

}  // namespace sked::cpu
