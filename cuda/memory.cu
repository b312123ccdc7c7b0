// Filling, converting and rearranging: bound by memory. What only moves elements looks at their size alone.

#include "core/kernels/memory.h"

#include "core/kernels/convert.h"
#include "cuda/map.cuh"
#include "cuda/strided.cuh"

namespace sked::cuda {
namespace {

// ---- filling and converting ----------------------------------------------------------------------

/// bytes of y written.
template <int N, class T>
__global__ void fill_kernel(int64_t n, T value, T* y) {
  const int64_t i = global_thread() * N;
  if (i + N <= n) {
    Pack<T, N> pack;
#pragma unroll
    for (int k = 0; k < N; ++k) pack.v[k] = value;
    store(y + i, pack);
  } else {
    for (int64_t j = i; j < n; ++j) y[j] = value;
  }
}

void fill(Tensor& y, double value) {
  require(y.dtype() != DType::f64, "fill", "no f64 on cuda: ", y);
  visit_any(y.dtype(), [&]<class T>(T) {
    if constexpr (!std::is_same_v<T, double>) {
      T* out = y.data<T>();
      constexpr int N = kWide<T>;
      if (aligned16({out})) {
        launch("fill", fill_kernel<N, T>, ceil_div(y.numel(), N * kThreads), kThreads, y.numel(), convert<T>(value),
               out);
      } else {
        launch("fill", fill_kernel<1, T>, ceil_div(y.numel(), kThreads), kThreads, y.numel(), convert<T>(value), out);
      }
    }
  });
}

/// 8 bytes of y written an element.
__global__ void arange_kernel(int64_t n, int64_t* y) {
  const int64_t i = global_thread();
  if (i < n) y[i] = i;
}

void arange(Tensor& y) {
  launch("arange", arange_kernel, ceil_div(y.numel(), kThreads), kThreads, y.numel(), y.data<int64_t>());
}

/// What the CPU gives, NaN's bits aside.
template <class To, class From>
__device__ To converted(From x) {
  if constexpr (std::is_same_v<To, bf16> && std::is_same_v<From, float>) {
    return narrow<bf16>(x);
  } else {
    return convert<To>(x);
  }
}

/// n · (bytes of an element of x + of y).
template <int N, class To, class From>
__global__ void cast_kernel(int64_t n, const From* x, To* y) {
  const int64_t i = global_thread() * N;
  if (i + N <= n) {
    const Pack<From, N> in = load<N>(x + i);
    Pack<To, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) out.v[k] = converted<To>(in.v[k]);
    store(y + i, out);
  } else {
    for (int64_t j = i; j < n; ++j) y[j] = converted<To>(x[j]);
  }
}

template <class To, class From>
void cast_elements(int64_t n, const From* x, To* y) {
  constexpr int N = 16 / static_cast<int>(std::max(sizeof(To), sizeof(From)));
  if (aligned16({x, y})) {
    launch("cast", cast_kernel<N, To, From>, ceil_div(n, N * kThreads), kThreads, n, x, y);
  } else {
    launch("cast", cast_kernel<1, To, From>, ceil_div(n, kThreads), kThreads, n, x, y);
  }
}

void cast(const Tensor& x, Tensor& y) {
  require(x.dtype() != DType::f64 && y.dtype() != DType::f64, "cast", "no f64 on cuda: ", x, " to ", y);
  visit_any(x.dtype(), [&]<class From>(From) {
    visit_any(y.dtype(), [&]<class To>(To) {
      if constexpr (!std::is_same_v<From, double> && !std::is_same_v<To, double>) {
        cast_elements(x.numel(), x.data<From>(), y.data<To>());
      }
    });
  });
}

struct AddScaled {
  float alpha;
  __device__ float operator()(float y, float x) const { return y + alpha * x; }
};

/// 3 · n elements moved.
void add_scaled(const Tensor& x, Tensor& y, double alpha) {
  visit_device(x.dtype(), "add_scaled", [&]<class T>(T) {
    T* out = y.data<T>();
    map("add_scaled", x.numel(), AddScaled{static_cast<float>(alpha)}, out, static_cast<const T*>(out), x.data<T>());
  });
}

// ---- rearranging ---------------------------------------------------------------------------------

/// y[offset₁(i)] = x[offset₀(i)].
template <class Unit, class Index>
__global__ void copy_kernel(Index n, const __grid_constant__ StridedIndex<2, Index> strides, const Unit* x, Unit* y) {
  const Index i = static_cast<Index>(global_thread());
  if (i >= n) return;
  Index at[2];
  strides.locate(i, at);
  y[at[1]] = x[at[0]];
}

/// The largest unit, in elements, of which rows and all distances are whole numbers: 16 bytes where things are even.
int64_t unit_of(const Strided<2>& strides, int64_t size, const void* x, const void* y) {
  if (strides.ndim == 0) return 1;
  const auto whole = [&](int64_t unit) {
    if (strides.inner_strides()[0] != 1 || strides.inner_strides()[1] != 1 || strides.inner() % unit != 0) return false;
    for (int axis = 0; axis + 1 < strides.ndim; ++axis)
      for (const int64_t stride : strides.strides[static_cast<size_t>(axis)])
        if (stride % unit != 0) return false;
    const auto bytes = static_cast<uintptr_t>(unit * size);
    return reinterpret_cast<uintptr_t>(x) % bytes == 0 && reinterpret_cast<uintptr_t>(y) % bytes == 0;
  };
  for (int64_t unit = 16 / size; unit > 1; unit /= 2)
    if (whole(unit)) return unit;
  return 1;
}

/// The same strides over units of `unit` elements.
Strided<2> in_units(Strided<2> strides, int64_t unit) {
  if (unit == 1) return strides;
  const auto inner = static_cast<size_t>(strides.ndim - 1);
  strides.extents[inner] /= unit;
  for (size_t axis = 0; axis < inner; ++axis)
    for (int64_t& stride : strides.strides[axis]) stride /= unit;
  return strides;
}

template <class F>
void visit_unit(int64_t bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    case 8:
      return f(uint64_t{});
    default:
      return f(uint4{});
  }
}

/// Copies elements of `size` bytes; `reach` bounds the offsets in both operands. Floor: 2 · bytes moved.
void strided_copy(const char* where, const Strided<2>& elements, int64_t size, int64_t reach, const void* x, void* y) {
  const int64_t unit = unit_of(elements, size, x, y);
  const Strided<2> strides = in_units(elements, unit);
  const int64_t n = strides.rows() * strides.inner();
  visit_unit(unit * size, [&]<class Unit>(Unit) {
    visit_index(reach, [&]<class Index>(Index) {
      launch(where, copy_kernel<Unit, Index>, ceil_div(n, kThreads), kThreads, static_cast<Index>(n),
             StridedIndex<2, Index>(strides), static_cast<const Unit*>(x), static_cast<Unit*>(y));
    });
  });
}

constexpr int kTile = 32, kTileRows = 8;

/// y's last axis (cols) strides through x by x_step, and rows, contiguous in x, are y_across apart in y: a tile at a
/// time by way of shared memory, so that both sides move whole lines. The odd pitch keeps columns in different banks.
template <class T>
__global__ void transpose_kernel(const __grid_constant__ StridedIndex<2, int64_t> outer, int64_t rows, int64_t cols,
                                 Divisor<int32_t> row_tiles, Divisor<int32_t> col_tiles, int64_t x_step,
                                 int64_t y_across, const T* x, T* y) {
  __shared__ T tile[kTile][kTile + 1];
  const auto block = static_cast<int32_t>(blockIdx.x), line_of_tiles = block / row_tiles,
             matrix = line_of_tiles / col_tiles;
  const int64_t r0 = int64_t{block - line_of_tiles * row_tiles.by()} * kTile;
  const int64_t c0 = int64_t{line_of_tiles - matrix * col_tiles.by()} * kTile;
  int64_t at[2];
  outer.locate(matrix, at);
  const int lane = threadIdx.x % kTile, line = threadIdx.x / kTile;
  for (int64_t c = line; c < kTile; c += kTileRows)
    if (c0 + c < cols && r0 + lane < rows) tile[c][lane] = x[at[0] + (r0 + lane) + (c0 + c) * x_step];
  __syncthreads();
  for (int64_t r = line; r < kTile; r += kTileRows)
    if (r0 + r < rows && c0 + lane < cols) y[at[1] + (r0 + r) * y_across + c0 + lane] = tile[lane][r];
}

/// `strides`: y's axes with x's strides; `across`: the axis that is contiguous in x.
template <class T>
void transpose_blocks(const T* x, T* y, const Strided<1>& strides, int across) {
  const auto a = static_cast<size_t>(across), b = static_cast<size_t>(strides.ndim - 1);
  std::array<int64_t, Shape::kMaxDims> y_strides{};
  int64_t step = 1;
  for (size_t i = b + 1; i-- > 0;) {
    y_strides[i] = step;
    step *= strides.extents[i];
  }
  Strided<2> outer;
  for (size_t i = 0; i < b; ++i)
    if (i != a) outer.add(strides.extents[i], {strides.strides[i][0], y_strides[i]});
  const int64_t rows = strides.extents[a], cols = strides.extents[b];
  const int64_t row_tiles = ceil_div(rows, kTile), col_tiles = ceil_div(cols, kTile);
  const int64_t blocks = row_tiles * col_tiles * outer.rows() * outer.inner();
  launch("permute", transpose_kernel<T>, blocks, kTile * kTileRows, StridedIndex<2, int64_t>(outer), rows, cols,
         Divisor<int32_t>(row_tiles), Divisor<int32_t>(col_tiles), strides.strides[b][0], y_strides[a], x, y);
}

void permute(const Tensor& x, Tensor& y, const std::vector<int>& perm) {
  if (x.numel() == 0) return;
  Strided<1> strides;
  for (const int axis : perm) strides.add(x.dim(axis), {x.shape().product(axis + 1, x.ndim())});
  const auto size = static_cast<int64_t>(size_of(x.dtype()));
  if (strides.ndim == 0 || strides.inner_strides()[0] == 1) {
    Strided<2> both;  // y's own strides beside x's
    int64_t step = x.numel();
    for (size_t i = 0; i < static_cast<size_t>(strides.ndim); ++i) {
      step /= strides.extents[i];
      both.add(strides.extents[i], {strides.strides[i][0], step});
    }
    return strided_copy("permute", both, size, x.numel(), x.raw(), y.raw());
  }
  int across = 0;  // some axis of y is contiguous in x, since x has more than one element
  while (strides.strides[static_cast<size_t>(across)][0] != 1) ++across;
  visit_unit(size, [&]<class T>(T) {
    if constexpr (sizeof(T) <= 8)
      transpose_blocks(static_cast<const T*>(x.raw()), static_cast<T*>(y.raw()), strides, across);
  });
}

/// `part` is [start, …) of one axis of `whole`; copies towards `part` or, where `insert`, from it.
void copy_slice(const char* where, const Tensor& whole, const Tensor& part, int axis, int64_t start, const void* from,
                void* to, bool insert) {
  if (part.numel() == 0) return;
  const int64_t unit = whole.shape().product(axis + 1, whole.ndim());
  const int64_t in_whole = unit * whole.dim(axis), in_part = unit * part.dim(axis);
  Strided<2> strides;
  strides.add(whole.shape().product(0, axis), {insert ? in_part : in_whole, insert ? in_whole : in_part});
  strides.add(in_part, {1, 1});
  const auto size = static_cast<int64_t>(size_of(whole.dtype()));
  const auto skip = static_cast<size_t>(start * unit * size);
  strided_copy(where, strides, size, whole.numel(), static_cast<const std::byte*>(from) + (insert ? 0 : skip),
               static_cast<std::byte*>(to) + (insert ? skip : 0));
}

void slice(const Tensor& x, Tensor& y, int axis, int64_t start) {
  axis = x.shape().axis(axis);
  copy_slice("slice", x, y, axis, start, x.raw(), y.raw(), false);
}

void slice_insert(const Tensor& x, Tensor& y, int axis, int64_t start) {
  axis = y.shape().axis(axis);
  copy_slice("slice_insert", y, x, axis, start, x.raw(), y.raw(), true);
}

void broadcast_to(const Tensor& x, Tensor& y) {
  if (y.numel() == 0) return;
  const Strided<2> strides = strided_broadcast(y.shape(), x.shape(), y.shape());
  strided_copy("broadcast_to", strides, static_cast<int64_t>(size_of(x.dtype())), y.numel(), x.raw(), y.raw());
}

[[maybe_unused]] const bool registered =
    kernel::fill.define(Device::cuda, fill) && kernel::arange.define(Device::cuda, arange) &&
    kernel::cast.define(Device::cuda, cast) && kernel::add_scaled.define(Device::cuda, add_scaled) &&
    kernel::permute.define(Device::cuda, permute) && kernel::slice.define(Device::cuda, slice) &&
    kernel::slice_insert.define(Device::cuda, slice_insert) && kernel::broadcast_to.define(Device::cuda, broadcast_to);

}  // namespace
}  // namespace sked::cuda
