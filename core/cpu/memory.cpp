#include "core/kernels/memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>

#include "core/cpu/parallel.h"
#include "core/kernels/convert.h"
#include "core/kernels/strided.h"

namespace sked::cpu {
namespace {

void fill(Tensor& y, double value) {
  if (y.numel() == 0) return;
  visit_any(y.dtype(), [&](auto type) {
    using T = decltype(type);
    const T constant = convert<T>(value);
    T* out = y.data<T>();
    parallel_ranges(y.numel(), kLight,
                    [=](int64_t begin, int64_t end) { std::fill(out + begin, out + end, constant); });
  });
}

void arange(Tensor& y) {
  int64_t* out = y.data<int64_t>();
  parallel_ranges(y.numel(), kLight, [=](int64_t begin, int64_t end) { std::iota(out + begin, out + end, begin); });
}

void cast(const Tensor& x, Tensor& y) {
  visit_any(x.dtype(), [&](auto from) {
    visit_any(y.dtype(), [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const From* in = x.data<From>();
      To* out = y.data<To>();
      parallel_ranges(x.numel(), kLight, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) out[i] = convert<To>(in[i]);
      });
    });
  });
}

void add_scaled(const Tensor& x, Tensor& y, double alpha) {
  visit_stored(x.dtype(), "add_scaled", [&](auto type) {
    using T = decltype(type);
    using A = Arithmetic<T>;
    const T* in = x.data<T>();
    T* out = y.data<T>();
    const A scale = static_cast<A>(alpha);
    parallel_ranges(x.numel(), kLight, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) store(A(out[i]) + scale * A(in[i]), out[i]);
    });
  });
}

// ---- rearranging: only the size of an element matters --------------------------------------------

/// Calls f(T{}) with an unsigned integer of the size of the dtype's elements.
template <class F>
void visit_size(DType dtype, F&& f) {
  switch (size_of(dtype)) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

/// Strides over y with x's strides.
Strided<1> permuted_strides(const Tensor& x, const std::vector<int>& perm) {
  Strided<1> strides;
  for (const int axis : perm) strides.add(x.dim(axis), {x.shape().product(axis + 1, x.ndim())});
  return strides;
}

/// y's last axis strides through x: blocks of y's last axis by `across`, the axis that is contiguous in x, by way of a
/// tile, so that each cache line of either side is used whole while it is there.
template <class T>
void transpose_blocks(const T* x, T* y, const Strided<1>& strides, int across) {
  constexpr int64_t kBlock = 16;
  const auto a = static_cast<size_t>(across), b = static_cast<size_t>(strides.ndim - 1);
  Strided<2> outer;  // the axes that are neither; strides in x and in y
  int64_t y_step = 1, y_across = 1;
  std::array<int64_t, Shape::kMaxDims> y_strides{};
  for (int i = strides.ndim - 1; i >= 0; --i) {
    y_strides[static_cast<size_t>(i)] = y_step;
    if (i == across) y_across = y_step;
    y_step *= strides.extents[static_cast<size_t>(i)];
  }
  for (size_t i = 0; i < b; ++i) {
    if (i != a) outer.add(strides.extents[i], {strides.strides[i][0], y_strides[i]});
  }
  const int64_t rows = strides.extents[a], cols = strides.extents[b], x_step = strides.strides[b][0];
  const int64_t bands = (rows + kBlock - 1) / kBlock, count = outer.rows() * outer.inner();
#pragma omp parallel for if (rows * cols * count > kLight)
  for (int64_t job = 0; job < count * bands; ++job) {
    const int64_t index = job / bands, first = job % bands * kBlock, last = std::min(rows, first + kBlock);
    const auto base = outer.row_offsets(index / outer.inner());
    const int64_t inner = index % outer.inner();
    const T* in = x + base[0] + inner * outer.inner_strides()[0];
    T* out = y + base[1] + inner * outer.inner_strides()[1];
    for (int64_t c0 = 0; c0 < cols; c0 += kBlock) {
      const int64_t c1 = std::min(cols, c0 + kBlock);
      T tile[kBlock][kBlock];
      for (int64_t c = c0; c < c1; ++c) {
        for (int64_t r = first; r < last; ++r) tile[r - first][c - c0] = in[r + c * x_step];
      }
      for (int64_t r = first; r < last; ++r) std::copy_n(tile[r - first], c1 - c0, out + r * y_across + c0);
    }
  }
}

void permute(const Tensor& x, Tensor& y, const std::vector<int>& perm) {
  if (x.numel() == 0) return;
  const Strided<1> strides = permuted_strides(x, perm);
  visit_size(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x.raw());
    T* out = static_cast<T*>(y.raw());
    const int64_t inner = strides.inner(), rows = strides.rows();
    if (strides.ndim == 0 || strides.inner_strides()[0] == 1) {
#pragma omp parallel for if (x.numel() > kLight)
      for (int64_t row = 0; row < rows; ++row) {
        std::memcpy(out + row * inner, in + strides.row_offsets(row)[0], static_cast<size_t>(inner) * sizeof(T));
      }
      return;
    }
    int across = 0;  // some axis of y is contiguous in x, since x has more than one element
    while (strides.strides[static_cast<size_t>(across)][0] != 1) ++across;
    transpose_blocks(in, out, strides, across);
  });
}

/// Copies `count` blocks of `bytes` from one pitch to another.
void copy_blocks(const std::byte* from, size_t from_pitch, std::byte* to, size_t to_pitch, size_t bytes,
                 int64_t count) {
#pragma omp parallel for if (static_cast <int64_t>(bytes) * count > 4 * kLight)
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to + static_cast<size_t>(i) * to_pitch, from + static_cast<size_t>(i) * from_pitch, bytes);
  }
}

void slice(const Tensor& x, Tensor& y, int axis, int64_t start) {
  axis = x.shape().axis(axis);
  const size_t unit = static_cast<size_t>(x.shape().product(axis + 1, x.ndim())) * size_of(x.dtype());
  const size_t from_pitch = unit * static_cast<size_t>(x.dim(axis)), to_pitch = unit * static_cast<size_t>(y.dim(axis));
  if (y.numel() == 0) return;
  copy_blocks(static_cast<const std::byte*>(x.raw()) + unit * static_cast<size_t>(start), from_pitch,
              static_cast<std::byte*>(y.raw()), to_pitch, to_pitch, x.shape().product(0, axis));
}

void slice_insert(const Tensor& x, Tensor& y, int axis, int64_t start) {
  axis = y.shape().axis(axis);
  const size_t unit = static_cast<size_t>(x.shape().product(axis + 1, x.ndim())) * size_of(x.dtype());
  const size_t from_pitch = unit * static_cast<size_t>(x.dim(axis)), to_pitch = unit * static_cast<size_t>(y.dim(axis));
  if (x.numel() == 0) return;
  copy_blocks(static_cast<const std::byte*>(x.raw()), from_pitch,
              static_cast<std::byte*>(y.raw()) + unit * static_cast<size_t>(start), to_pitch, from_pitch,
              x.shape().product(0, axis));
}

void broadcast_to(const Tensor& x, Tensor& y) {
  if (y.numel() == 0) return;
  const auto strides = strided_broadcast(y.shape(), x.shape());
  visit_stored(x.dtype(), "broadcast_to", [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    const bool constant = strides.inner_strides()[0] == 0;
    parallel_ranges(y.numel(), kLight, [&](int64_t begin, int64_t end) {
      strides.for_each_piece(begin, end, [&](int64_t first, int64_t count, const auto& at) {
        if (constant) {
          std::fill_n(out + first, count, in[at[0]]);
        } else {
          std::copy_n(in + at[0], count, out + first);
        }
      });
    });
  });
}

const bool registered =
    kernel::fill.define(Device::cpu, fill, true) && kernel::arange.define(Device::cpu, arange) &&
    kernel::cast.define(Device::cpu, cast, true) && kernel::add_scaled.define(Device::cpu, add_scaled, true) &&
    kernel::permute.define(Device::cpu, permute, true) && kernel::slice.define(Device::cpu, slice, true) &&
    kernel::slice_insert.define(Device::cpu, slice_insert, true) &&
    kernel::broadcast_to.define(Device::cpu, broadcast_to, true);

}  // namespace
}  // namespace sked::cpu
