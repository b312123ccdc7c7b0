#pragma once
// Sums over the rows of a matrix that come out the same for any number of threads.

#include <algorithm>
#include <cstdint>

#include "core/tensor.h"

namespace sked::cpu {

/// Rows [begin, end) of chunk i; the cut depends on the number of rows alone.
struct RowChunks {
  int64_t rows, size;

  explicit RowChunks(int64_t rows) : rows(rows), size(std::max<int64_t>(32, (rows + 127) / 128)) {}
  int64_t count() const { return (rows + size - 1) / size; }
  int64_t begin(int64_t i) const { return i * size; }
  int64_t end(int64_t i) const { return std::min(rows, (i + 1) * size); }
};

/// out (width) = Σ over rows: f(begin, end, sums) adds the terms of rows [begin, end) to its chunk's own zeroed sums
/// (width), f32 where out is bf16; the chunks run in parallel, where that is worth it, and are added up in order, in
/// double.
template <class Out, class F>
void sum_over_rows(int64_t rows, int64_t width, Out* out, F&& f, [[maybe_unused]] bool parallel = true) {
  using T = Arithmetic<Out>;
  const RowChunks chunks(rows);
  Tensor partial = Tensor::empty({chunks.count(), width}, dtype_of<T>);
  T* sums = partial.data<T>();
#pragma omp parallel if (parallel)
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < chunks.count(); ++i) {
      std::fill_n(sums + i * width, width, T{0});
      f(chunks.begin(i), chunks.end(i), sums + i * width);
    }
#pragma omp for schedule(static)
    for (int64_t j = 0; j < width; ++j) {
      double total = 0;
      for (int64_t i = 0; i < chunks.count(); ++i) total += sums[i * width + j];
      store(static_cast<T>(total), out[j]);
    }
  }
}

/// out (C) = Σ_n x[n] of x (N,C); either may be stored in bf16.
template <class T, class Out>
void sum_rows(const T* x, int64_t N, int64_t C, Out* out) {
  sum_over_rows(N, C, out, [=](int64_t begin, int64_t end, Arithmetic<Out>* sums) {
    for (int64_t n = begin; n < end; ++n) {
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) sums[c] += static_cast<Arithmetic<T>>(x[n * C + c]);
    }
  });
}

}  // namespace sked::cpu
