#include "core/kernels/reduce.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "core/cpu/parallel.h"
#include "core/cpu/sums.h"
#include "core/kernels/functors.h"

namespace sked::cpu {
namespace {

/// Columns worked on side by side: their running values fit the first-level cache, and a compiler makes vectors of
/// them.
constexpr int64_t kColumns = 256;

/// How a reduction is cut into tasks: each reduces one block of columns over one chunk of the n rows of one outer
/// index. The cut is a function of the shape alone, so the result is the same for any number of threads.
struct Plan {
  ReduceView view;
  int64_t chunk, chunks, blocks;

  explicit Plan(ReduceView v) : view(v) {
    chunk = std::max<int64_t>(64, (1 << 14) / std::min(kColumns, std::max<int64_t>(v.inner, 1)));
    chunks = (v.n + chunk - 1) / chunk;
    blocks = (v.inner + kColumns - 1) / kColumns;
  }
  int64_t tasks() const { return view.outer * chunks * blocks; }
};

/// One task's part of the input and where its result belongs.
struct Task {
  int64_t outer, chunk, row, rows, column, columns;

  Task(const Plan& plan, int64_t index) {
    const int64_t block = index % plan.blocks;
    chunk = index / plan.blocks % plan.chunks;
    outer = index / plan.blocks / plan.chunks;
    row = chunk * plan.chunk;
    rows = std::min(plan.chunk, plan.view.n - row);
    column = block * kColumns;
    columns = std::min(kColumns, plan.view.inner - column);
  }
};

/// Sums run in f64 whatever the dtype.
template <class T>
struct Sum {
  using Value = double;
  static constexpr Value kStart = 0.0;
  static Value combine(Value a, Value b) { return a + b; }
  static Value row(const T* x, int64_t n) {
    return lane_sum(x, n, [](double v) { return v; });
  }
};

/// The largest; NaN wins.
template <class T>
struct Largest {
  using Value = Arithmetic<T>;
  static constexpr Value kStart = -std::numeric_limits<Value>::infinity();
  static Value combine(Value a, Value b) { return functor::Max::forward(a, b); }
  static Value row(const T* x, int64_t n) {
    Value lanes[16];
    std::fill_n(lanes, 16, kStart);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
#pragma omp simd
      for (int64_t k = 0; k < 16; ++k) lanes[k] = combine(lanes[k], Value(x[i + k]));
    }
    for (; i < n; ++i) lanes[0] = combine(lanes[0], Value(x[i]));
    return *std::max_element(lanes, lanes + 16, [](Value a, Value b) { return a < b || (b != b && a == a); });
  }
};

/// values[j] = the reduction of the task's rows in column `task.column + j`.
template <class R, class T>
void run_task(const T* x, ReduceView view, const Task& task, typename R::Value* values) {
  const T* in = x + (task.outer * view.n + task.row) * view.inner + task.column;
  if (view.inner == 1) {
    values[0] = R::row(in, task.rows);
    return;
  }
  std::fill_n(values, task.columns, R::kStart);
  for (int64_t i = 0; i < task.rows; ++i, in += view.inner) {
#pragma omp simd
    for (int64_t j = 0; j < task.columns; ++j)
      values[j] = R::combine(values[j], static_cast<typename R::Value>(Arithmetic<T>(in[j])));
  }
}

/// y[o,j] = finish(reduction of x[o,·,j]).
template <class R, class T, class Finish>
void reduce(const T* x, T* y, ReduceView view, Finish finish) {
  using Value = typename R::Value;
  const Plan plan(view);
  if (plan.chunks == 1) {
#pragma omp parallel for schedule(static) if (view.outer * view.n * view.inner > kLight)
    for (int64_t index = 0; index < plan.tasks(); ++index) {
      const Task task(plan, index);
      Value values[kColumns];
      run_task<R>(x, view, task, values);
      for (int64_t j = 0; j < task.columns; ++j) store(finish(values[j]), y[task.outer * view.inner + task.column + j]);
    }
    return;
  }
  Tensor parts = Tensor::empty({view.outer, plan.chunks, view.inner}, dtype_of<Value>);
  Value* part = parts.data<Value>();
#pragma omp parallel for schedule(static) if (view.outer * view.n * view.inner > kLight)
  for (int64_t index = 0; index < plan.tasks(); ++index) {
    const Task task(plan, index);
    run_task<R>(x, view, task, part + (task.outer * plan.chunks + task.chunk) * view.inner + task.column);
  }
#pragma omp parallel for schedule(static) if (view.outer * plan.chunks * view.inner > kLight)
  for (int64_t i = 0; i < view.outer * view.inner; ++i) {
    const Value* first = part + i / view.inner * plan.chunks * view.inner + i % view.inner;
    Value total = first[0];
    for (int64_t c = 1; c < plan.chunks; ++c) total = R::combine(total, first[c * view.inner]);
    store(finish(total), y[i]);
  }
}

void reduce_forward(const Tensor& x, Tensor& y, Reduce op, ReduceView view) {
  if (view.n == 0) return y.fill(0.0);
  if (y.numel() == 0) return;
  visit_stored(x.dtype(), "reduce_forward", [&](auto type) {
    using T = decltype(type);
    using A = Arithmetic<T>;
    const T* in = x.data<T>();
    T* out = y.data<T>();
    const auto n = static_cast<double>(view.n);
    switch (op) {
      case Reduce::sum:
        return reduce<Sum<T>>(in, out, view, [](double sum) { return static_cast<A>(sum); });
      case Reduce::mean:
        return reduce<Sum<T>>(in, out, view, [=](double sum) { return static_cast<A>(sum / n); });
      case Reduce::max:
        return reduce<Largest<T>>(in, out, view, [](A value) { return value; });
    }
  });
}

/// Calls f(outer, first column, columns) for every block of columns, in parallel.
template <class F>
void for_each_block(ReduceView view, F f) {
  const int64_t blocks = (view.inner + kColumns - 1) / kColumns;
#pragma omp parallel for schedule(static) if (view.outer * view.n * view.inner > kLight)
  for (int64_t index = 0; index < view.outer * blocks; ++index) {
    const int64_t column = index % blocks * kColumns;
    f(index / blocks, column, std::min(kColumns, view.inner - column));
  }
}

void reduce_max_backward(const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, ReduceView view) {
  visit_float(x.dtype(), "reduce_max_backward", [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    const T* largest = y.data<T>();
    const T* upstream = dy.data<T>();
    T* out = dx.data<T>();
    for_each_block(view, [=](int64_t outer, int64_t column, int64_t columns) {
      const int64_t first = outer * view.n * view.inner + column, result = outer * view.inner + column;
      T ties[kColumns] = {};
      for (int64_t i = 0; i < view.n; ++i) {
        const T* row = in + first + i * view.inner;
        for (int64_t j = 0; j < columns; ++j) ties[j] += row[j] == largest[result + j] ? T{1} : T{0};
      }
      for (int64_t i = 0; i < view.n; ++i) {
        const int64_t at = first + i * view.inner;
        for (int64_t j = 0; j < columns; ++j) {
          out[at + j] = in[at + j] == largest[result + j] ? upstream[result + j] / ties[j] : T{0};
        }
      }
    });
  });
}

void argmax(const Tensor& x, Tensor& index, ReduceView view) {
  visit_float(x.dtype(), "argmax", [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    int64_t* out = index.data<int64_t>();
    for_each_block(view, [=](int64_t outer, int64_t column, int64_t columns) {
      const T* row = in + outer * view.n * view.inner + column;
      T best[kColumns];
      int64_t which[kColumns] = {};
      std::copy_n(row, columns, best);
      for (int64_t i = 1; i < view.n; ++i) {
        row += view.inner;
        for (int64_t j = 0; j < columns; ++j) {
          const bool larger = !functor::Max::took_first(best[j], row[j]);
          best[j] = larger ? row[j] : best[j];
          which[j] = larger ? i : which[j];
        }
      }
      std::copy_n(which, columns, out + outer * view.inner + column);
    });
  });
}

void top_k(const Tensor& x, Tensor& values, Tensor& index) {
  const int64_t N = x.dim(0), K = x.dim(1), k = values.dim(1);
  visit_float(x.dtype(), "top_k", [&]<class T>(T) {
    const T* in = x.data<T>();
    T* out = values.data<T>();
    int64_t* which = index.data<int64_t>();
    std::vector<int64_t> order(static_cast<size_t>(K));
    for (int64_t n = 0; n < N; ++n) {
      const T* row = in + n * K;
      std::iota(order.begin(), order.end(), int64_t{0});
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [row](int64_t i, int64_t j) {
        const bool tied = row[i] == row[j] || (row[i] != row[i] && row[j] != row[j]);
        return tied ? i < j : functor::Max::took_first(row[i], row[j]);
      });
      for (int64_t i = 0; i < k; ++i) {
        which[n * k + i] = order[static_cast<size_t>(i)];
        out[n * k + i] = row[which[n * k + i]];
      }
    }
  });
}

const bool registered = kernel::reduce_forward.define(Device::cpu, reduce_forward, true) &&
                        kernel::reduce_max_backward.define(Device::cpu, reduce_max_backward) &&
                        kernel::argmax.define(Device::cpu, argmax) && kernel::top_k.define(Device::cpu, top_k);

}  // namespace
}  // namespace sked::cpu
