#pragma once
// Sums down the columns of matrices, several at once and always in the same order: what gradients of biases, scales and
// shifts and the statistics of batch and group norm are made of. A thread has a pack of neighboring columns, and what
// belongs to them in registers.
//
// A first kernel cuts the rows into chunks, as the shape alone says, and writes each chunk's sums (in f32 over a few
// hundred rows a thread, in f64 from there); what follows adds the chunks, a warp for each result.

#include <algorithm>

#include "cuda/strided.cuh"

namespace sked::cuda {

/// `outer` matrices of `rows` rows and C columns, in packs of `pack` columns, cut into `chunks` of `chunk` rows. A
/// block takes a chunk of `across` packs: `lines` rows at a time, a thread a pack.
struct ColumnPlan {
  int64_t outer, rows, C, column_blocks, chunk, chunks;
  int pack, across, lines;

  ColumnPlan(int64_t outer, int64_t rows, int64_t C, int pack = 1) : outer(outer), rows(rows), C(C), pack(pack) {
    require(C < std::numeric_limits<int32_t>::max() - kThreads * pack, "cuda", "expected fewer columns, got ", C);
    constexpr int64_t kBlocks = 1024, kFewest = 8;  // enough blocks for every card; rows worth a line
    const int64_t packs = std::max<int64_t>(1, C / pack);
    column_blocks = ceil_div(packs, kWarp);
    across = static_cast<int>(ceil_div(packs, column_blocks));
    lines = std::min(kWarp, kThreads / across);
    const int64_t wanted = std::max<int64_t>(1, kBlocks / std::max<int64_t>(1, outer * column_blocks));
    chunk = std::max<int64_t>(1, std::max(std::min(rows, kFewest * lines), ceil_div(rows, wanted)));
    chunks = std::max<int64_t>(1, ceil_div(rows, chunk));
  }
  int64_t blocks() const { return C == 0 ? 0 : outer * chunks * column_blocks; }
  /// The chunks' sums, K for each column: (outer, chunks, K, C) f64.
  Tensor partials(int64_t K) const { return Tensor::empty({outer, chunks, K, C}, DType::f64, Device::cuda); }
};

/// The columns of a pack: as many as 16 bytes hold where rows are whole packs and the pointers allow.
template <class T>
int pack_of(int64_t C, std::initializer_list<const void*> pointers) {
  return C % kWide<T> == 0 && aligned16(pointers) ? kWide<T> : 1;
}

constexpr int kLines = kThreads / kWarp;

/// Where a thread stands: at kN columns c … of matrix o, and every plan.lines-th row from `first` to `last` − 1.
template <int kN>
struct ColumnPlace {
  int64_t task, o, block_column, first, last;
  int c;

  __device__ explicit ColumnPlace(const ColumnPlan& plan)
      : task(blockIdx.x / plan.column_blocks), o(task / plan.chunks) {
    const int thread = static_cast<int>(threadIdx.x), line = thread / plan.across;
    block_column = (blockIdx.x - task * plan.column_blocks) * plan.across * kN;
    c = static_cast<int>(block_column) + (thread - line * plan.across) * kN;
    const int64_t begin = (task - o * plan.chunks) * plan.chunk;
    first = begin + line;
    last = line < plan.lines && c < plan.C ? min(plan.rows, begin + plan.chunk) : 0;
  }
};

/// Calls visit(f, row, at) for a thread's rows, whose packs begin at element number `at`. F has
///   F(given, o, first, c)    what belongs to kN columns c … of matrix o, whose first element is number `first`
///   load(wanted, at)         what a row's pack needs of memory, or zeros
/// kRows rows are loaded before the first is visited, since what is stored then would hold up further loads.
template <class F, class Visit>
__device__ void visit_rows(const ColumnPlan& plan, const ColumnPlace<F::kN>& place, const typename F::Given& given,
                           Visit visit) {
  constexpr int kRows = F::kN == 1 ? 4 : F::kRows;
  if (place.first >= place.last) return;
  const int64_t matrix = place.o * plan.rows * plan.C, step = plan.lines * plan.C;
  const F f(given, place.o, matrix, place.c);
  int64_t at = matrix + place.first * plan.C + place.c;
  for (int64_t r = place.first; r < place.last; r += kRows * plan.lines, at += kRows * step) {
    typename F::Row row[kRows];
#pragma unroll
    for (int b = 0; b < kRows; ++b) row[b] = f.load(r + b * plan.lines < place.last, at + b * step);
#pragma unroll
    for (int b = 0; b < kRows; ++b)
      if (r + b * plan.lines < place.last) visit(f, row[b], at + b * step);
  }
}

constexpr int kColumnBlocks = 4;  // a multiprocessor

/// partial[o,chunk,k,c] = Σ over the chunk's rows of the terms that f.add(row, at, sum) adds to sum[kSums][kN].
template <class F>
__global__ void __launch_bounds__(kThreads, kColumnBlocks)
    column_sums_kernel(ColumnPlan plan, typename F::Given given, double* partial) {
  constexpr int kN = F::kN, K = F::kSums;
  __shared__ float parts[kThreads * kN];
  const ColumnPlace<kN> place(plan);
  float sum[K][kN] = {};
  visit_rows<F>(plan, place, given, [&](const F& f, const auto& row, int64_t at) { f.add(row, at, sum); });
  const int width = plan.across * kN;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (k > 0) __syncthreads();  // parts are read
#pragma unroll
    for (int j = 0; j < kN; ++j) parts[threadIdx.x * kN + j] = sum[k][j];
    __syncthreads();
    for (int j = threadIdx.x; j < width && place.block_column + j < plan.C; j += kThreads) {
      double total = 0;
      for (int l = 0; l < plan.lines; ++l) total += parts[l * width + j];
      partial[(place.task * K + k) * plan.C + place.block_column + j] = total;
    }
  }
}

/// Fills `partial`, from plan.partials, by F<T, kN> with the plan's packs.
template <template <class, int> class F, class T>
void column_sums(const char* where, const ColumnPlan& plan, const typename F<T, 1>::Given& given, Tensor& partial) {
  const auto kernel = plan.pack == kWide<T> ? column_sums_kernel<F<T, kWide<T>>> : column_sums_kernel<F<T, 1>>;
  launch(where, kernel, plan.blocks(), kThreads, plan, given, partial.data<double>());
}

/// f.write(row, at) for every row.
template <class F>
__global__ void __launch_bounds__(kThreads, kColumnBlocks) write_rows_kernel(ColumnPlan plan, typename F::Given given) {
  const ColumnPlace<F::kN> place(plan);
  visit_rows<F>(plan, place, given, [](const F& f, const auto& row, int64_t at) { f.write(row, at); });
}
template <template <class, int> class F, class T>
void write_rows(const char* where, const ColumnPlan& plan, const typename F<T, 1>::Given& given) {
  const auto kernel = plan.pack == kWide<T> ? write_rows_kernel<F<T, kWide<T>>> : write_rows_kernel<F<T, 1>>;
  launch(where, kernel, plan.blocks(), kThreads, plan, given);
}

/// A warp's total over the chunks of sum k of column c of matrix o.
__device__ inline double total_of(const ColumnPlan& plan, const double* partial, int K, int k, int64_t o, int64_t c) {
  double sum = 0;
#pragma unroll 4
  for (int64_t chunk = threadIdx.x % kWarp; chunk < plan.chunks; chunk += kWarp)
    sum += partial[((o * plan.chunks + chunk) * K + k) * plan.C + c];
  return warp_reduce(sum, Plus{});
}

/// out[k][c] = the totals, one warp each; a null out is skipped.
template <int K>
struct Outputs {
  float* v[K];
};
template <int K>
__global__ void column_totals_kernel(ColumnPlan plan, const double* partial, Outputs<K> out) {
  const int64_t task = global_thread() / kWarp, c = task % plan.C;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (task / plan.C != k || !out.v[k]) continue;
    const double total = total_of(plan, partial, K, k, 0, c);
    if (threadIdx.x % kWarp == 0) out.v[k][c] = static_cast<float>(total);
  }
}
template <int K>
void column_totals(const char* where, const ColumnPlan& plan, const Tensor& partial, Outputs<K> out) {
  launch(where, column_totals_kernel<K>, ceil_div(K * plan.C, kLines), kThreads, plan, partial.data<double>(), out);
}

/// x − p and its square, p being the matrix's first element of the column's group of `width` columns.
template <class T>
struct MomentsOf {
  const T* x;
  Divisor<int> width = Divisor<int>(1);
};
template <class T, int N>
struct MomentTerms {
  using Given = MomentsOf<T>;
  using Row = Pack<T, N>;
  static constexpr int kN = N, kSums = 2, kRows = 2;
  const T* x;
  Floats<N> p;
  __device__ MomentTerms(const Given& of, int64_t, int64_t first, int c) : x(of.x) {
#pragma unroll
    for (int j = 0; j < N; ++j) p.v[j] = widen(x[first + (c + j) / of.width * of.width.by()]);
  }
  __device__ Row load(bool wanted, int64_t at) const { return load_if<N>(wanted, x, at); }
  __device__ void add(const Row& row, int64_t, float (&sum)[2][N]) const {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float d = widen(row.v[j]) - p.v[j];
      sum[0][j] += d;
      sum[1][j] += d * d;
    }
  }
};

/// The term of a plain sum.
template <class T, int N>
struct Element {
  using Given = const T*;
  using Row = Pack<T, N>;
  static constexpr int kN = N, kSums = 1, kRows = 4;
  const T* x;
  __device__ Element(const T* x, int64_t, int64_t, int) : x(x) {}
  __device__ Row load(bool wanted, int64_t at) const { return load_if<N>(wanted, x, at); }
  __device__ void add(const Row& row, int64_t, float (&sum)[1][N]) const {
#pragma unroll
    for (int j = 0; j < N; ++j) sum[0][j] += widen(row.v[j]);
  }
};

/// sums (C) = Σ_r x[r], x (rows, C) being read once.
template <class T>
void sum_columns(const char* where, int64_t rows, int64_t C, const T* x, float* sums) {
  const ColumnPlan plan(1, rows, C, pack_of<T>(C, {x}));
  Tensor partial = plan.partials(1);
  column_sums<Element, T>(where, plan, x, partial);
  column_totals<1>(where, plan, partial, {{sums}});
}

}  // namespace sked::cuda
