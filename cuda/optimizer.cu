// Optimizer steps over all parameters in one launch: the addresses travel as kernel arguments, of which CUDA takes
// 32,764 bytes, so there is nothing to upload and a captured graph keeps them. A block takes 4096 elements of one
// tensor.

#include "core/kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "cuda/launch.cuh"

namespace sked::cuda {
namespace {

constexpr int64_t kPiece = 4096;
constexpr int kArrays = 4;     // parameter, gradient and two of state
constexpr int kEntries = 480;  // 64 bytes each, in one launch

struct Entry {
  float* data[kArrays];
  bf16* rounded;   // of data[0], or nullptr
  float* average;  // likewise
  int64_t count;
  int first_block;  // the blocks before this tensor's
  float decay;
};

/// The tensors of one launch.
struct Table {
  Entry entries[kEntries];
  int size = 0;
};
static_assert(sizeof(Table) <= 32764 - 256, "kernel arguments are limited");

/// The entry of a block: the last whose first block is not beyond it.
__device__ const Entry& entry_of(const Table& table, int64_t block) {
  int low = 0, high = table.size - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.entries[middle].first_block <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return table.entries[low];
}

/// Runs f(entry, i) for each element of the block's piece.
template <class F>
__device__ void for_each_element(const Table& table, F f) {
  const Entry& e = entry_of(table, blockIdx.x);
  const int64_t first = (static_cast<int64_t>(blockIdx.x) - e.first_block) * kPiece,
                last = min(e.count, first + kPiece);
#pragma unroll 4
  for (int64_t i = first + threadIdx.x; i < last; i += kThreads) f(e, i);
}

/// Where the elements of each tensor are, to be written or read: one table serves both.
using Places = std::vector<float*>;
Places places(TensorList& list) {
  Places all;
  for (Tensor& t : list) all.push_back(t.data<float>());
  return all;
}
/// The kernel's to leave as they are.
Places places(const TensorList& list) {
  Places all;
  for (const Tensor& t : list) all.push_back(const_cast<float*>(t.data<float>()));
  return all;
}

/// What a step has for each tensor beside those; empty where there is none.
struct Beside {
  std::vector<double> decay;
  TensorList rounded, averages;
};

/// Calls run(table, blocks) for runs of at most kEntries tensors with the extents of `list`; arrays[a][t] is array a of
/// tensor t.
template <class F>
void for_each_table(const TensorList& list, const std::vector<Places>& arrays, Beside beside, F&& run) {
  Table table;
  int64_t blocks = 0;
  const auto flush = [&] {
    if (table.size > 0) run(table, blocks);
    table.size = 0;
    blocks = 0;
  };
  for (size_t t = 0; t < list.size(); ++t) {
    const int64_t count = list[t].numel();
    if (count == 0) continue;
    Entry& e = table.entries[table.size++];
    e = Entry{};
    for (size_t a = 0; a < arrays.size(); ++a) e.data[a] = arrays[a][t];
    auto& [decay, rounded, averages] = beside;
    e.rounded = rounded.empty() || !rounded[t].defined() ? nullptr : rounded[t].data<bf16>();
    e.average = averages.empty() ? nullptr : averages[t].data<float>();
    e.count = count;
    e.first_block = static_cast<int>(blocks);
    e.decay = decay.empty() ? 0.0f : static_cast<float>(decay[t]);
    blocks += ceil_div(count, kPiece);
    if (table.size == kEntries) flush();
  }
  flush();
}

const float* scale_of(const Tensor& grad_scale) { return grad_scale.defined() ? grad_scale.data<float>() : nullptr; }

struct Sgd {
  float lr, momentum, take;  // 1 − ema_decay
  bool nesterov, first, keeps_momentum;
};

__device__ void follow(float& average, float value, float take) { average += take * (value - average); }

/// The new value of a parameter.
__device__ void put(const Entry& e, int64_t i, float value, float take) {
  e.data[0][i] = value;
  if (e.rounded) e.rounded[i] = narrow<bf16>(value);
  if (e.average) follow(e.average[i], value, take);
}

/// 5 numbers of 4 bytes moved for each parameter (3 without momentum), one of 2 where it is rounded, two of 4 where it
/// is averaged; 8 operations, and 3.
__global__ void sgd_kernel(const __grid_constant__ Table table, Sgd s, const float* grad_scale) {
  const float scale = grad_scale ? *grad_scale : 1.0f;
  for_each_element(table, [&](const Entry& e, int64_t i) {
    float* m = e.data[2];
    const float p = e.data[0][i], g = scale * e.data[1][i] + e.decay * p;
    if (!s.keeps_momentum) return put(e, i, p - s.lr * g, s.take);
    // On the first step the old momentum is not read: it may be uninitialized.
    const float v = s.first ? g : s.momentum * m[i] + g;
    m[i] = v;
    put(e, i, p - s.lr * (s.nesterov ? g + s.momentum * v : v), s.take);
  });
}

void sgd_step(TensorList& parameters, const TensorList& gradients, TensorList& momentum, TensorList& rounded,
              TensorList& averages, const std::vector<double>& decay, const Tensor& grad_scale, SgdStep step) {
  const char* where = "sgd_step";
  const bool keeps = step.momentum != 0.0;
  std::vector<Places> arrays{places(parameters), places(gradients)};
  if (keeps) arrays.push_back(places(momentum));
  const Sgd s{.lr = static_cast<float>(step.lr),
              .momentum = static_cast<float>(step.momentum),
              .take = static_cast<float>(1.0 - step.ema_decay),
              .nesterov = step.nesterov,
              .first = step.first,
              .keeps_momentum = keeps};
  for_each_table(parameters, arrays, {decay, rounded, averages}, [&](const Table& table, int64_t blocks) {
    launch(where, sgd_kernel, blocks, kThreads, table, s, scale_of(grad_scale));
  });
}

struct Adam {
  float lr, rate, root, b1, c1, b2, c2, eps, take;
  bool decoupled;
};

/// 7 numbers of 4 bytes moved for each parameter, one of 2 where it is rounded, two of 4 where it is averaged; 16
/// operations, and 3: the floor is 28 to 38 bytes / memory bandwidth.
__global__ void adam_kernel(const __grid_constant__ Table table, Adam a, const float* grad_scale) {
  const float scale = grad_scale ? *grad_scale : 1.0f;
  for_each_element(table, [&](const Entry& e, int64_t i) {
    float *m = e.data[2], *v = e.data[3];
    const float value = e.data[0][i], g = scale * e.data[1][i] + (a.decoupled ? 0.0f : e.decay * value);
    const float first = a.b1 * m[i] + a.c1 * g, second = a.b2 * v[i] + a.c2 * g * g;
    m[i] = first;
    v[i] = second;
    const float shrink = a.decoupled ? 1.0f - a.lr * e.decay : 1.0f;
    put(e, i, shrink * value - a.rate * first / (a.root * sqrtf(second) + a.eps), a.take);
  });
}

void adam_step(TensorList& parameters, const TensorList& gradients, TensorList& m, TensorList& v, TensorList& rounded,
               TensorList& averages, const std::vector<double>& decay, const Tensor& grad_scale, AdamStep step) {
  const char* where = "adam_step";
  const auto t = static_cast<double>(step.step);
  const Adam a{.lr = static_cast<float>(step.lr),
               .rate = static_cast<float>(step.lr / (1.0 - std::pow(step.beta1, t))),       // lr · m̂ = rate · m
               .root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(step.beta2, t))),  // √v̂ = root · √v
               .b1 = static_cast<float>(step.beta1),
               .c1 = static_cast<float>(1.0 - step.beta1),
               .b2 = static_cast<float>(step.beta2),
               .c2 = static_cast<float>(1.0 - step.beta2),
               .eps = static_cast<float>(step.eps),
               .take = static_cast<float>(1.0 - step.ema_decay),
               .decoupled = step.decoupled};
  const std::vector<Places> arrays{places(parameters), places(gradients), places(m), places(v)};
  for_each_table(parameters, arrays, {decay, rounded, averages}, [&](const Table& table, int64_t blocks) {
    launch(where, adam_kernel, blocks, kThreads, table, a, scale_of(grad_scale));
  });
}

/// 3 numbers of 4 bytes moved for each weight.
__global__ void ema_kernel(const __grid_constant__ Table table, float take) {
  for_each_element(table, [&](const Entry& e, int64_t i) { follow(e.data[0][i], e.data[1][i], take); });
}

void ema_step(TensorList& averages, const TensorList& values, double decay) {
  for_each_table(averages, {places(averages), places(values)}, {}, [&](const Table& table, int64_t blocks) {
    launch("ema_step", ema_kernel, blocks, kThreads, table, static_cast<float>(1.0 - decay));
  });
}

// ---- the norm of all gradients -------------------------------------------------------------------

/// parts[block] = Σ x² of the block's piece, in f64: one conversion, one fused multiply-add and 4 bytes an element.
__global__ void squares_kernel(const __grid_constant__ Table table, double* parts) {
  double sum = 0;
  for_each_element(table, [&](const Entry& e, int64_t i) {
    const double x = static_cast<double>(e.data[0][i]);
    sum += x * x;
  });
  sum = block_reduce(sum, Plus{}, 0.0);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/// One block: norm = √ Σ parts.
__global__ void norm_kernel(int64_t count, const double* parts, float* norm) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += parts[i];
  sum = block_reduce(sum, Plus{}, 0.0);
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sum));
}

void global_norm(const TensorList& tensors, Tensor& norm) {
  const char* where = "global_norm";
  if (tensors.empty()) return norm.fill(0.0);
  int64_t pieces = 0;
  for (const Tensor& t : tensors) pieces += ceil_div(t.numel(), kPiece);
  Tensor parts = Tensor::empty({pieces}, DType::f64, Device::cuda);
  double* part = parts.data<double>();
  for_each_table(tensors, {places(tensors)}, {}, [&](const Table& table, int64_t blocks) {
    launch(where, squares_kernel, blocks, kThreads, table, part);
    part += blocks;
  });
  launch(where, norm_kernel, 1, kThreads, pieces, parts.data<double>(), norm.data<float>());
}

[[maybe_unused]] const bool registered =
    kernel::sgd_step.define(Device::cuda, sgd_step) && kernel::adam_step.define(Device::cuda, adam_step) &&
    kernel::global_norm.define(Device::cuda, global_norm) && kernel::ema_step.define(Device::cuda, ema_step);

}  // namespace
}  // namespace sked::cuda
