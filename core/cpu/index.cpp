#include "core/kernels/index.h"

#include <algorithm>
#include <cstring>

#include "core/cpu/parallel.h"
#include "core/kernels/convert.h"

namespace sked::cpu {
namespace {

/// Checks that the `count` indices of `ids` lie in 0 … limit−1 and returns them.
const int64_t* checked_ids(const Tensor& ids, int64_t count, int64_t limit, const char* where) {
  const int64_t* id = ids.data<int64_t>();
  for (int64_t n = 0; n < count; ++n) {
    require(id[n] >= 0 && id[n] < limit, where, "expected indices in 0 to ", limit - 1, ", got ", id[n], " in row ", n);
  }
  return id;
}

void gather_rows(const Tensor& table, const Tensor& ids, Tensor& y) {
  const int64_t* id = checked_ids(ids, y.dim(0), table.dim(0), "gather_rows");
  const size_t bytes = static_cast<size_t>(table.dim(1)) * size_of(table.dtype());
  if (y.numel() == 0) return;
  const auto* from = static_cast<const std::byte*>(table.raw());
  auto* to = static_cast<std::byte*>(y.raw());
#pragma omp parallel for schedule(static) if (y.numel() > kLight)
  for (int64_t n = 0; n < y.dim(0); ++n) {
    std::memcpy(to + static_cast<size_t>(n) * bytes, from + static_cast<size_t>(id[n]) * bytes, bytes);
  }
}

/// Threads share the columns, not the rows: each adds its part of every row in order of n, and no two touch the same
/// element.
void scatter_add_rows(const Tensor& dy, const Tensor& ids, Tensor& dtable) {
  const int64_t* id = checked_ids(ids, dy.dim(0), dtable.dim(0), "scatter_add_rows");
  const int64_t N = dy.dim(0), D = dy.dim(1);
  visit_float(dy.dtype(), "scatter_add_rows", [&](auto type) {
    using T = decltype(type);
    const T* from = dy.data<T>();
    T* to = dtable.data<T>();
    const int64_t serial_below = N * D > kLight ? 0 : D;
    parallel_ranges(D, serial_below, [=](int64_t begin, int64_t end) {
      for (int64_t n = 0; n < N; ++n) {
        T* row = to + id[n] * D;
#pragma omp simd
        for (int64_t d = begin; d < end; ++d) row[d] += from[n * D + d];
      }
    });
  });
}

void pick(const Tensor& x, const Tensor& index, Tensor& y) {
  const int64_t* id = checked_ids(index, x.dim(0), x.dim(2), "pick");
  const int64_t S = x.dim(1), K = x.dim(2);
  visit_float(x.dtype(), "pick", [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    parallel_ranges(y.numel(), kLight, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = in[i * K + id[i / S]];
    });
  });
}

void pick_backward(const Tensor& dy, const Tensor& index, Tensor& dx) {
  const int64_t* id = checked_ids(index, dx.dim(0), dx.dim(2), "pick_backward");
  const int64_t S = dx.dim(1), K = dx.dim(2);
  visit_float(dy.dtype(), "pick_backward", [&](auto type) {
    using T = decltype(type);
    const T* upstream = dy.data<T>();
    T* out = dx.data<T>();
    const int64_t serial_below = dx.numel() > kLight ? 0 : dy.numel();
    parallel_ranges(dy.numel(), serial_below, [=](int64_t begin, int64_t end) {
      std::fill(out + begin * K, out + end * K, T{0});
      for (int64_t i = begin; i < end; ++i) out[i * K + id[i / S]] = upstream[i];
    });
  });
}

void look_up(const Tensor& x, const Tensor& table, Tensor& y) {
  const int64_t C = table.dim(1), rows = x.numel() / std::max<int64_t>(1, C);
  const uint8_t* byte = x.data<uint8_t>();
  visit_float(table.dtype(), "look_up", [&](auto type) {
    const auto* value = table.data<decltype(type)>();
    visit_any(y.dtype(), [&]<class T>(T) {
      T* to = y.data<T>();
#pragma omp parallel for schedule(static) if (x.numel() > kLight)
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = r * C; i < (r + 1) * C; ++i) to[i] = convert<T>(value[byte[i] * C + i - r * C]);
      }
    });
  });
}

const bool registered =
    kernel::gather_rows.define(Device::cpu, gather_rows) &&
    kernel::scatter_add_rows.define(Device::cpu, scatter_add_rows) && kernel::pick.define(Device::cpu, pick) &&
    kernel::pick_backward.define(Device::cpu, pick_backward) && kernel::look_up.define(Device::cpu, look_up, true);

}  // namespace
}  // namespace sked::cpu
