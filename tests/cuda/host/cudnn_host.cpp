// What cuDNN does for us, in plain loops: linear layers with their GELU as one kernel, beside which the sums it adds to
// are set to zero. The rest of it is left to our own kernels.

#include "cuda/cudnn.h"

#include <cmath>
#include <vector>

#include "core/kernels/functors.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace sked::cuda::cudnn {
namespace {

struct Product {
  int64_t rows, columns, depth;
  const bf16* a;  // (rows, depth)
  const bf16* b;
  int64_t b_depth, b_column;  // strides
};

/// `finish` takes each number that leaves the product and its place.
template <class Finish>
void multiply(const Product& p, const Finish& finish) {
  std::vector<float> row(static_cast<size_t>(p.columns)), right(static_cast<size_t>(p.depth * p.columns));
  for (int64_t q = 0; q < p.depth; ++q)
    for (int64_t c = 0; c < p.columns; ++c)
      right[static_cast<size_t>(q * p.columns + c)] = static_cast<float>(p.b[q * p.b_depth + c * p.b_column]);
  for (int64_t r = 0; r < p.rows; ++r) {
    row.assign(row.size(), 0);
    for (int64_t q = 0; q < p.depth; ++q) {
      const auto factor = static_cast<float>(p.a[r * p.depth + q]);
      for (size_t c = 0; c < row.size(); ++c) row[c] += factor * right[static_cast<size_t>(q) * row.size() + c];
    }
    for (int64_t c = 0; c < p.columns; ++c) finish(r, c, row[static_cast<size_t>(c)]);
  }
}

bool aligned(std::initializer_list<const void*> operands) {
  for (const void* p : operands)
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  return true;
}

}  // namespace

bool run(const Convolution&, const void*, const void*, void*) { return false; }
bool run_forward(const Attention&, const void*, void*, float*) { return false; }
bool run_backward(const Attention&, const void*, const void*, const void*, const float*, void*) { return false; }
std::vector<Candidate> candidates(const Convolution&, const Tensor&, const Tensor&, const Tensor&, int) { return {}; }

bool run_forward(const LinearGelu& p, const void* x, const void* w, const void* b, void* y, void* pre) {
  if (!aligned({x, w, b, y, pre})) return false;
  count_launch(p.name());
  SKED_CUDA(cuda_on_host::submit(compute_stream().get(), [=] {
    const auto [N, I, O] = p.s;
    const auto bias = [&](int64_t o) {
      if (!p.bias) return 0.0F;
      return p.bias_dtype == DType::f32 ? static_cast<const float*>(b)[o]
                                        : static_cast<float>(static_cast<const bf16*>(b)[o]);
    };
    const Product product{N, O, I, static_cast<const bf16*>(x), static_cast<const bf16*>(w), 1, I};
    multiply(product, [&, columns = O](int64_t n, int64_t o, float value) {
      const int64_t at = n * columns + o;
      value += bias(o);
      if (p.pre) static_cast<bf16*>(pre)[at] = static_cast<bf16>(value);
      static_cast<bf16*>(y)[at] = static_cast<bf16>(functor::Gelu::forward(value));
    });
  }));
  return true;
}

bool run_backward(const LinearGelu& p, const void* dy, const void* w, const void* pre, void* dx, float* db) {
  if (!aligned({dy, w, pre, dx, db})) return false;
  if (p.bias) count_launch(p.name());
  count_launch(p.name());
  SKED_CUDA(cuda_on_host::submit(compute_stream().get(), [=] {
    const auto [N, I, O] = p.s;
    std::vector<double> sums(static_cast<size_t>(I));
    const Product product{N, I, O, static_cast<const bf16*>(dy), static_cast<const bf16*>(w), I, 1};
    multiply(product, [&, columns = I](int64_t n, int64_t i, float value) {
      const int64_t at = n * columns + i;
      value *= functor::Gelu::derivative(static_cast<float>(static_cast<const bf16*>(pre)[at]));
      sums[static_cast<size_t>(i)] += value;
      static_cast<bf16*>(dx)[at] = static_cast<bf16>(value);
    });
    for (size_t i = 0; p.bias && i < sums.size(); ++i) db[i] = static_cast<float>(sums[i]);
  }));
  return true;
}

bool found() { return false; }
std::string why_not(const Convolution&, const Card&) { return "this program was built without cuDNN"; }
std::string why_not(const Attention&, const Card&) { return "this program was built without cuDNN"; }
std::string why_not(const LinearGelu&, const Card&) { return "this program was built without cuDNN"; }
Card this_card() { return {}; }

}  // namespace sked::cuda::cudnn
