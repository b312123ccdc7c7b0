// An m×m tile y of the output of one channel pair is Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, with the filter g (3×3), the input
// tile d (n×n, n = m + 2, overlapping its neighbors by two) and the transforms of core/cpu/winograd.h down columns and
// along rows.
//
// The sum over input channels goes inside the brackets, so that each of the n² positions ξ of an n×n tile is a matrix
// product over a block of T tiles:  M[ξ] (T,O) = V[ξ] (T,I) U[ξ],  U[ξ] (I,O).
//   forward          V = Bᵀ x B, U = G w Gᵀ, y = Aᵀ M A
//   backward, input  the forward pass of dy with the filters rotated by 180° and their channels exchanged
//   backward, weight the adjoint in w: dU[ξ] = Σ_t (A dy Aᵀ)[ξ]ᵀ V[ξ], dw = Gᵀ dU G

#include "core/cpu/onednn_winograd.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/cpu/onednn.h"
#include "core/cpu/onednn_gemm.h"
#include "core/cpu/parallel.h"
#include "core/cpu/winograd.h"

namespace sked::cpu {
namespace {

constexpr int64_t kFewestChannels = 16,
                  kFewestRoundedChannels = 128;  // of f32; of bf16, whose products take half as long
/// Tiles of a block: V and M of this many bytes stay in the outer caches, but a product has at least kFewestTiles rows.
constexpr int64_t kBlockBytes = 4 << 20, kFewestTiles = 128;

// ---- transforms in two dimensions, of many channels at once --------------------------------------

/// {f(0), …, f(n − 1)}, without a loop, which would keep the loop around it from becoming vector instructions.
template <int n, class F>
[[gnu::always_inline]] inline Values<n> gather(F&& f) {
  return [&]<int... i>(std::integer_sequence<int, i...>) { return Values<n>{f(i)...}; }
  (std::make_integer_sequence<int, n>());
}
/// f(i, values[i]) for each i.
template <size_t n, class F>
[[gnu::always_inline]] inline void scatter(const std::array<float, n>& values, F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) { (f(i, values[i]), ...); }
  (std::make_integer_sequence<int, n>());
}

// The loops over channels are free of dependences; as OpenMP's `simd` loops GCC 12 keeps each channel's arrays in
// memory and gives up on them.

/// The tiles read(r, s, c) (in×in) of channels c < C are transformed by f, which makes `out` numbers of `in`, down
/// their columns, then along their rows; write(r, s, c, number) takes the results (out×out).
template <int in, int out, class F, class Read, class Write>
[[gnu::always_inline]] inline void transform(int64_t C, F&& f, Read&& read, Write&& write) {
  constexpr int64_t kAtOnce = 64;  // channels: what is between the two stays in the first cache
  alignas(64) float half[out][in][kAtOnce];
  for (int64_t first = 0; first < C; first += kAtOnce) {
    const int64_t count = std::min(kAtOnce, C - first);
    for (int s = 0; s < in; ++s) {
#pragma GCC ivdep
      for (int64_t c = 0; c < count; ++c)
        scatter(f(gather<in>([&](int r) { return read(r, s, first + c); })),
                [&](int r, float value) { half[r][s][c] = value; });
    }
    for (int r = 0; r < out; ++r) {
#pragma GCC ivdep
      for (int64_t c = 0; c < count; ++c)
        scatter(f(gather<in>([&](int s) { return half[r][s][c]; })),
                [&](int s, float value) { write(r, s, first + c, value); });
    }
  }
}

// ---- tiles ---------------------------------------------------------------------------------------

/// The m×m tiles that cover images (N,H,W,C), numbered row by row.
template <int m>
struct Tiling {
  static constexpr int n = Winograd<m>::kInputs, kPositions = n * n;  // of an input tile; ξ
  int64_t N, H, W, rows, cols;

  explicit Tiling(const ConvSizes& s) : N(s.N), H(s.H), W(s.W), rows((s.H + m - 1) / m), cols((s.W + m - 1) / m) {}
  int64_t count() const { return N * rows * cols; }

  /// Calls f(i, pixel) for the `size`×`size` pixels i of tile t from its corner moved by `offset`; pixel is −1 outside
  /// the image.
  template <class F>
  void for_each_pixel(int64_t t, int64_t offset, int64_t size, F&& f) const {
    const int64_t image = t / (rows * cols), top = t / cols % rows * m + offset, left = t % cols * m + offset;
    for (int64_t r = 0; r < size; ++r)
      for (int64_t c = 0; c < size; ++c) {
        const int64_t h = top + r, w = left + c;
        const bool inside = h >= 0 && h < H && w >= 0 && w < W;
        f(r * size + c, inside ? (image * H + h) * W + w : -1);
      }
  }
};

/// v[ξ·step + c] = (Bᵀ d B)[ξ] of tile t of x, for every channel c; `zeros` (C) stands for pixels outside.
template <int m, class T>
void read_input_tile(const Tiling<m>& tiling, int64_t t, const T* x, int64_t C, const T* zeros, T* v, int64_t step) {
  constexpr int n = Winograd<m>::kInputs;
  const T* d[n * n];
  tiling.for_each_pixel(t, -1, n, [&](int64_t i, int64_t pixel) { d[i] = pixel < 0 ? zeros : x + pixel * C; });
  transform<n, n>(
      C, Winograd<m>::input, [&](int r, int s, int64_t c) { return float(d[r * n + s][c]); },
      [&](int r, int s, int64_t c, float value) { store(value, v[(r * n + s) * step + c]); });
}

/// v[ξ·step + c] = (A dy Aᵀ)[ξ] of tile t of dy.
template <int m, class T>
void read_gradient_tile(const Tiling<m>& tiling, int64_t t, const T* dy, int64_t C, const T* zeros, T* v,
                        int64_t step) {
  constexpr int n = Winograd<m>::kInputs;
  const T* d[m * m];
  tiling.for_each_pixel(t, 0, m, [&](int64_t i, int64_t pixel) { d[i] = pixel < 0 ? zeros : dy + pixel * C; });
  transform<m, n>(
      C, Winograd<m>::output_adjoint, [&](int r, int s, int64_t c) { return float(d[r * m + s][c]); },
      [&](int r, int s, int64_t c, float value) { store(value, v[(r * n + s) * step + c]); });
}

/// Tile t of y = Aᵀ M A + bias (C); `nowhere` (C) takes what falls outside.
template <int m, class T>
void write_output_tile(const Tiling<m>& tiling, int64_t t, const float* products, int64_t step, const float* bias,
                       int64_t C, T* nowhere, T* y) {
  constexpr int n = Winograd<m>::kInputs;
  T* to[m * m];
  tiling.for_each_pixel(t, 0, m, [&](int64_t i, int64_t pixel) { to[i] = pixel < 0 ? nowhere : y + pixel * C; });
  transform<n, m>(
      C, Winograd<m>::output, [&](int r, int s, int64_t c) { return products[(r * n + s) * step + c]; },
      [&](int r, int s, int64_t c, float value) { store(value + bias[c], to[r * m + s][c]); });
}

// ---- filters -------------------------------------------------------------------------------------

/// A row of filters with a plane of numbers for each of their nine taps, which vectors want.
using Planes = std::vector<float>;

/// U (n²,in,out) of w (O,I,3,3): of a forward convolution, in = I and out = O; of a backward one, in = O and out = I,
/// whose filters are rotated by 180°.
template <int m, class T>
Tensor filter_spectrum(const float* w, int64_t O, int64_t I, bool backward) {
  constexpr int n = Winograd<m>::kInputs;
  const int64_t in = backward ? O : I, out = backward ? I : O, step = in * out;
  Tensor spectrum = Tensor::empty({n * n, in, out}, dtype_of<T>);
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
      transform<3, n>(
          out, Winograd<m>::filter, [&](int r, int s, int64_t o) { return g[(3 * r + s) * out + o]; },
          [&](int r, int s, int64_t o, float value) { store(value, to[(r * n + s) * step + o]); });
    }
  }
  return spectrum;
}

/// dw (O,I,3,3) = Gᵀ dU G.
template <int m>
void filter_gradient(const float* du, int64_t O, int64_t I, float* dw) {
  constexpr int n = Winograd<m>::kInputs;
#pragma omp parallel if (O * I > kHeavy)
  {
    Planes planes(static_cast<size_t>(9 * I));
    float* g = planes.data();
#pragma omp for schedule(static)
    for (int64_t o = 0; o < O; ++o) {
      const float* u = du + o * I;
      transform<n, 3>(
          I, Winograd<m>::filter_adjoint, [&](int r, int s, int64_t i) { return u[(r * n + s) * O * I + i]; },
          [&](int r, int s, int64_t i, float value) { g[(3 * r + s) * I + i] = value; });
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

template <int m>
int64_t block_tiles(const Tiling<m>& tiling, int64_t in, int64_t out) {
  const int64_t bytes = tiling.kPositions * (in + out) * static_cast<int64_t>(sizeof(float));
  return std::min(tiling.count(), std::max(kFewestTiles, kBlockBytes / bytes));
}

/// y (N,H,W,out) from x (N,H,W,in) and the filters' spectrum (n²,in,out): a block of tiles a thread.
template <int m, class T>
void convolve(const Tiling<m>& tiling, const T* x, int64_t in, const Tensor& spectrum, const float* bias, int64_t out,
              T* y) {
  // Blocks enough for threads to share them evenly.
  constexpr int64_t kFewestBlocks = 16, kPositions = Tiling<m>::kPositions;
  const int64_t even = std::max(kFewestTiles, (tiling.count() + kFewestBlocks - 1) / kFewestBlocks);
  const int64_t tiles = std::min(block_tiles(tiling, in, out), even), blocks = (tiling.count() + tiles - 1) / tiles;
  const int64_t threads = omp_get_max_threads();
  Tensor transformed = Tensor::empty({threads, kPositions, tiles, in}, dtype_of<T>);
  Tensor products = Tensor::empty({threads, kPositions, tiles, out});
  const Tensor outside = Tensor::zeros({in}, dtype_of<T>);
  const Tensor no_bias = Tensor::zeros({out});
  Tensor nowhere = Tensor::empty({threads, out}, dtype_of<T>);
  const MatrixView<T> filters{spectrum.data<T>(), out, 1};
#pragma omp parallel
  {
    const int64_t thread = omp_get_thread_num();
    T* v = transformed.data<T>() + thread * kPositions * tiles * in;
    float* to = products.data<float>() + thread * kPositions * tiles * out;
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * tiles, count = std::min(tiles, tiling.count() - first);
      for (int64_t t = 0; t < count; ++t)
        read_input_tile(tiling, first + t, x, in, outside.data<T>(), v + t * in, count * in);
      multiply(0, kPositions, count, out, in, {v, in, 1}, filters, to, false);
      for (int64_t t = 0; t < count; ++t)
        write_output_tile(tiling, first + t, to + t * out, count * out, bias ? bias : no_bias.data<float>(), out,
                          nowhere.data<T>() + thread * out, y);
    }
  }
}

template <int m, class T>
void weight_gradient(const ConvSizes& s, const T* dy, const T* x, float* dw) {
  constexpr int64_t kPositions = Tiling<m>::kPositions;
  const Tiling<m> tiling(s);
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
  filter_gradient<m>(du.data<float>(), s.O, s.I, dw);
}

/// Calls f with the constant m of the tiles that cost less: larger ones take fewer products a pixel, but more of a
/// filter, and cover more beyond the edges. What is rounded to bf16 has tiles of 2×2, as larger ones multiply errors.
template <class T, class F>
void visit_tiles(const ConvSizes& s, bool kept, F&& f) {
  const int64_t filter = kept ? 32 : 128;  // the cost of reading a spectrum that is kept, or of making it, in tiles
  const auto cost = [=](const auto& tiling) { return tiling.kPositions * (tiling.count() + filter); };
  if (std::is_same_v<T, float> && cost(Tiling<4>(s)) < cost(Tiling<2>(s))) {
    f(std::integral_constant<int, 4>());
  } else {
    f(std::integral_constant<int, 2>());
  }
}

}  // namespace

bool winograd_suits(const ConvSizes& s, const Window& window, DType dtype, bool kept) {
  // Few pixels by filters that lie ready: reading these is the cost, and spectra are larger.
  constexpr int64_t kFewestKept = 64;
  if (kept && s.N * s.P * s.Q < kFewestKept) return false;
  const int64_t fewest = dtype == DType::bf16 ? kFewestRoundedChannels : kFewestChannels;
  return window.kernel == 3 && window.stride == 1 && window.padding == 1 && window.groups == 1 && s.I >= fewest &&
         s.O >= fewest;
}

template <class T>
void winograd_forward(const ConvSizes& s, const T* x, const Tensor& w, const float* bias, T* y) {
  visit_tiles<T>(s, w.keeps_prepared(), [&](auto m) {
    static const char how = 0;
    const Tensor spectrum = w.prepared(&how, [&] { return filter_spectrum<m, T>(w.data<float>(), s.O, s.I, false); });
    convolve(Tiling<m>(s), x, s.I, spectrum, bias, s.O, y);
  });
}

template <class T>
void winograd_backward_input(const ConvSizes& s, const T* dy, const float* w, T* dx) {
  visit_tiles<T>(s, false, [&](auto m) {
    convolve(Tiling<m>(s), dy, s.O, filter_spectrum<m, T>(w, s.O, s.I, true), nullptr, s.I, dx);
  });
}

template <class T>
void winograd_backward_weight(const ConvSizes& s, const T* dy, const T* x, float* dw) {
  visit_tiles<T>(s, false, [&](auto m) { weight_gradient<m>(s, dy, x, dw); });
}

template void winograd_forward(const ConvSizes&, const float*, const Tensor&, const float*, float*);
template void winograd_forward(const ConvSizes&, const bf16*, const Tensor&, const float*, bf16*);
template void winograd_backward_input(const ConvSizes&, const float*, const float*, float*);
template void winograd_backward_input(const ConvSizes&, const bf16*, const float*, bf16*);
template void winograd_backward_weight(const ConvSizes&, const float*, const float*, float*);
template void winograd_backward_weight(const ConvSizes&, const bf16*, const bf16*, float*);

}  // namespace sked::cpu
