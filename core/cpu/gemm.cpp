#include "core/cpu/gemm.h"

#include <algorithm>
#include <vector>

// The structure of Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008:
// tiles of c are shared among the threads; for each, blocks of a and b are copied into panels that stay in cache, and a
// micro-kernel keeps kRows × kCols sums in registers while it goes down Q.

namespace sked::cpu {
namespace {

#ifdef __AVX512F__
constexpr int kVectorBytes = 64;
#else
constexpr int kVectorBytes = 32;
#endif

template <class T>
struct Blocking {
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  static constexpr int kLanes = kVectorBytes / sizeof(T);
  static constexpr int kRows = 6, kVectors = 2;  // 12 sums and 3 operands: fits the 16 registers of AVX2
  static constexpr int kCols = kVectors * kLanes;
  static constexpr int64_t kTileM = 32 * kRows, kTileN = 8 * kCols, kTileQ = 256;  // blocks of a and b: L2
};

/// Copies a (rows × Q) block into panels of `width` rows, column after column, padding the last panel with zeros.
template <class T>
void pack(MatrixView<T> block, int64_t rows, int64_t Q, int64_t width, T* out) {
  for (int64_t first = 0; first < rows; first += width, out += width * Q) {
    const int64_t height = std::min(width, rows - first);
    const T* from = block.data + first * block.row;
    if (height < width) std::fill(out, out + width * Q, T{0});
    if (block.row == 1) {
      for (int64_t q = 0; q < Q; ++q) std::copy_n(from + q * block.col, height, out + q * width);
    } else {
      for (int64_t i = 0; i < height; ++i)
        for (int64_t q = 0; q < Q; ++q) out[q * width + i] = from[i * block.row + q * block.col];
    }
  }
}

/// sums (kRows, kCols) = a panel (Q, kRows)ᵀ · b panel (Q, kCols).
template <class T>
void micro_kernel(int64_t Q, const T* a, const T* b, T* sums) {
  using B = Blocking<T>;
  using Vector = typename B::Vector;
  Vector acc[B::kRows][B::kVectors] = {};
  const Vector* bv = reinterpret_cast<const Vector*>(b);
  for (int64_t q = 0; q < Q; ++q, a += B::kRows, bv += B::kVectors) {
#pragma GCC unroll 8
    for (int i = 0; i < B::kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < B::kVectors; ++v) acc[i][v] += a[i] * bv[v];
    }
  }
  std::copy_n(&acc[0][0], B::kRows * B::kVectors, reinterpret_cast<Vector*>(sums));
}

template <class T>
void add_sums(const T* sums, int64_t rows, int64_t cols, T* c, int64_t ldc, bool accumulate) {
  for (int64_t i = 0; i < rows; ++i, sums += Blocking<T>::kCols, c += ldc) {
    for (int64_t j = 0; j < cols; ++j) c[j] = accumulate ? c[j] + sums[j] : sums[j];
  }
}

/// Cache-resident copies of the operands' blocks, one set a thread.
template <class T>
struct Panels {
  using Vector = typename Blocking<T>::Vector;
  std::vector<Vector> a, b, sums;  // vectors of vectors for their alignment
  Panels()
      : a(Blocking<T>::kTileM * Blocking<T>::kTileQ / Blocking<T>::kLanes),
        b(Blocking<T>::kTileN * Blocking<T>::kTileQ / Blocking<T>::kLanes),
        sums(Blocking<T>::kRows * Blocking<T>::kVectors) {}
};

/// One tile of c: M ≤ kTileM, N ≤ kTileN.
template <class T>
void multiply_tile(int64_t M, int64_t N, int64_t Q, MatrixView<T> a, MatrixView<T> b, T* c, int64_t ldc,
                   bool accumulate) {
  using B = Blocking<T>;
  thread_local Panels<T> panels;
  T* pa = reinterpret_cast<T*>(panels.a.data());
  T* pb = reinterpret_cast<T*>(panels.b.data());
  T* sums = reinterpret_cast<T*>(panels.sums.data());
  for (int64_t q = 0; q < Q; q += B::kTileQ) {
    const int64_t depth = std::min(B::kTileQ, Q - q);
    pack<T>({a.data + q * a.col, a.row, a.col}, M, depth, B::kRows, pa);
    pack<T>(MatrixView<T>{b.data + q * b.row, b.row, b.col}.transposed(), N, depth, B::kCols, pb);
    for (int64_t j = 0; j < N; j += B::kCols) {
      for (int64_t i = 0; i < M; i += B::kRows) {
        micro_kernel(depth, pa + i * depth, pb + j * depth, sums);
        add_sums(sums, std::min<int64_t>(B::kRows, M - i), std::min<int64_t>(B::kCols, N - j), c + i * ldc + j, ldc,
                 accumulate || q > 0);
      }
    }
  }
}

}  // namespace

template <class T>
void gemm(int64_t M, int64_t N, int64_t Q, MatrixView<T> a, MatrixView<T> b, T* c, int64_t ldc, bool accumulate,
          GemmBatch batch) {
  using B = Blocking<T>;
  if (Q == 0 && !accumulate) {
    for (int64_t n = 0; n < batch.count; ++n)
      for (int64_t i = 0; i < M; ++i) std::fill_n(c + n * batch.c + i * ldc, N, T{0});
  }
#pragma omp parallel for collapse(3) schedule(dynamic)
  for (int64_t n = 0; n < batch.count; ++n) {
    for (int64_t i = 0; i < M; i += B::kTileM) {
      for (int64_t j = 0; j < N; j += B::kTileN) {
        multiply_tile<T>(
            std::min(B::kTileM, M - i), std::min(B::kTileN, N - j), Q, {a.data + n * batch.a + i * a.row, a.row, a.col},
            {b.data + n * batch.b + j * b.col, b.row, b.col}, c + n * batch.c + i * ldc + j, ldc, accumulate);
      }
    }
  }
}

template void gemm(int64_t, int64_t, int64_t, MatrixView<float>, MatrixView<float>, float*, int64_t, bool, GemmBatch);
template void gemm(int64_t, int64_t, int64_t, MatrixView<double>, MatrixView<double>, double*, int64_t, bool,
                   GemmBatch);

}  // namespace sked::cpu
