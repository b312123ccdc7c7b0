// Matrix products and linear layers over gemm.h. The definitions use the readable kernel, the tuned versions cuBLASLt;
// tensors in f32 are rounded to bf16 first where that is the precision of products (core/precision.h), and so are f32
// weights beside bf16 activations, but where their storage keeps the rounded copy (Tensor::read_as).

#include "core/kernels/matmul.h"

#include "core/kernels/functors.h"
#include "core/kernels/memory.h"
#include "core/precision.h"
#include "cuda/approx.cuh"
#include "cuda/cudnn.h"
#include "cuda/gemm.h"
#include "cuda/map.cuh"
#include "cuda/packed_columns.cuh"
#include "cuda/strided.cuh"

namespace sked::cuda {
namespace {

using Product = void (*)(const Gemm&, const char*);

/// What a product's f32 factors are rounded to before it, `like` being one of the activations' dtype.
DType factor_dtype(const Tensor& like, Product product) {
  const bool rounds = product == gemm && product_precision() == Precision::bf16;
  return rounds ? DType::bf16 : like.dtype();
}

/// c = op(a) op(b), a and b whole matrices.
Gemm product_of(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, Tensor& c, int64_t M, int64_t N,
                int64_t Q) {
  return {.M = M,
          .N = N,
          .Q = Q,
          .a = a.raw(),
          .lda = transpose_a ? M : Q,
          .transpose_a = transpose_a,
          .b = b.raw(),
          .ldb = transpose_b ? Q : N,
          .transpose_b = transpose_b,
          .c = c.raw(),
          .ldc = N,
          .in = a.dtype(),
          .out = c.dtype()};
}

/// 2 M N Q operations; the floor is those at the card's rate, or the three operands' bytes.
template <Product product>
void matmul(const Tensor& a, const Tensor& b, Tensor& c, bool transpose_a, bool transpose_b, bool accumulate) {
  const MatmulSizes s = matmul_sizes(a, b, c, transpose_a);
  visit_device(c.dtype(), "matmul", [](auto) {});
  if (c.numel() == 0) return;
  if (s.Q == 0) return accumulate ? void() : c.fill(0.0);
  const DType in = factor_dtype(a, product);
  const Tensor left = a.read_as(in), right = b.read_as(in);
  Gemm g = product_of(left, transpose_a, right, transpose_b, c, s.M, s.N, s.Q);
  g.accumulate = accumulate;
  g.batch = s.batch;
  g.stride_a = s.M * s.Q;
  g.stride_b = s.shared_b ? 0 : s.Q * s.N;
  g.stride_c = s.M * s.N;
  product(g, "matmul");
}

// ---- linear --------------------------------------------------------------------------------------

struct Same {
  __device__ static float forward(float x) { return x; }
};

/// An activation as map() takes it. 2 · n elements moved; the exact GELU costs 19 instructions an element in bf16 (57
/// with the functor and a second copy of `pre`), bound by memory.
template <class T, class F>
struct Apply {
  __device__ float operator()(float x) const { return ActivationAs<T, F>::forward(x); }
};

/// pre = z + b (where kept), y = f(pre).
template <int kN, class Index, class T, class F>
__global__ void finish_kernel(Index n, Index O, const T* z, const T* b, T* pre, T* y, F f) {
  const Index i = static_cast<Index>(global_thread()) * kN;
  if (i >= n) return;
  const Index o = i % O;  // kN divides O
  const Pack<T, kN> in = load<kN>(z + i);
  Pack<T, kN> kept, out;
#pragma unroll
  for (int k = 0; k < kN; ++k) {
    const float t = widen(in.v[k]) + widen(b[o + k]);
    kept.v[k] = narrow<T>(t);
    out.v[k] = narrow<T>(f(t));
  }
  if (pre) store(pre + i, kept);
  store(y + i, out);
}

/// z may be y or pre; pre may be null. 2 · N·O elements moved, 3 where pre is kept.
template <class T, class F>
void finish(int64_t N, int64_t O, const T* z, const T* b, T* pre, T* y, F f) {
  const char* where = "linear_forward";
  const int64_t n = N * O;
  constexpr int kN = kWide<T>;
  visit_index(n, [&]<class Index>(Index) {
    const auto count = static_cast<Index>(n), columns = static_cast<Index>(O);
    if (O % kN == 0 && aligned16({z, pre, y})) {
      launch(where, finish_kernel<kN, Index, T, F>, ceil_div(n, kN * kThreads), kThreads, count, columns, z, b, pre, y,
             f);
    } else {
      launch(where, finish_kernel<1, Index, T, F>, ceil_div(n, kThreads), kThreads, count, columns, z, b, pre, y, f);
    }
  });
}

/// y = act(z + b), and z + b in `pre` where that is defined: there already without a bias, since the product went
/// there.
void finish_linear(const LinearSizes& s, const Tensor& z, const Tensor& b, Tensor& pre, Tensor& y, Activation act) {
  if (s.N * s.O == 0) return;
  visit_device(y.dtype(), "linear_forward", [&]<class T>(T) {
    const auto run = [&]<class F>(F) {
      T* const out = y.data<T>();
      if (!b.defined()) return map("linear_forward", s.N * s.O, Apply<T, F>{}, out, z.data<T>());
      T* const kept = pre.defined() && act != Activation::none ? pre.data<T>() : nullptr;
      finish(s.N, s.O, z.data<T>(), b.data<T>(), kept, out, Apply<T, F>{});
    };
    if (act != Activation::none) return functor::visit(act, run);
    if (b.defined() || !z.shares_storage(y)) run(Same{});
  });
}

void linear_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& pre, Activation act) {
  const LinearSizes s = linear_sizes(x, w);
  Tensor& z = product_target(y, pre, act);
  visit_device(x.dtype(), "linear_forward", [](auto) {});
  if (y.numel() == 0) return;
  gemm_definition(product_of(x, false, w.read_as(x.dtype()), true, z, s.N, s.O, s.I), "linear_forward");
  finish_linear(s, z, b.read_as(y.dtype()), pre, y, act);
}

const void* raw(const Tensor& t) { return t.defined() ? t.raw() : nullptr; }

/// y = GELU(x wᵀ + b) as one kernel of cuDNN's, where x and w are bf16 and it takes them.
bool gelu_rides(const LinearSizes& s, const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& pre) {
  if (x.dtype() != DType::bf16 || y.dtype() != DType::bf16) return false;
  cudnn::LinearGelu layer{.pass = cudnn::Pass::forward, .s = s, .bias = b.defined(), .pre = pre.defined()};
  if (b.defined()) layer.bias_dtype = b.dtype();
  return layer.pays() &&
         cudnn::run_forward(layer, x.raw(), w.raw(), raw(b), y.raw(), pre.defined() ? pre.raw() : nullptr);
}

/// Bias, ReLU and, in bf16, tanh-GELU ride on the product, and a large exact GELU on cuDNN's. Else it follows, as do a
/// ReLU whose input is wanted, and in f32 tanh-GELU, which the library approximates.
void linear_forward_tuned(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& pre, Activation act) {
  const LinearSizes s = linear_sizes(x, w);
  Tensor& z = product_target(y, pre, act);
  visit_device(x.dtype(), "linear_forward", [](auto) {});
  if (y.numel() == 0) return;
  if (s.I == 0) {
    z.fill(0.0);
    return finish_linear(s, z, b.read_as(y.dtype()), pre, y, act);
  }
  const DType in = factor_dtype(x, gemm);
  const Tensor left = x.to(in), right = w.read_as(in);
  if (act == Activation::gelu && gelu_rides(s, left, right, b, y, pre)) return;
  const Tensor bias = b.read_as(y.dtype());
  const bool rides = act == Activation::none || (act == Activation::relu && !pre.defined()) ||
                     (act == Activation::gelu_tanh && y.dtype() == DType::bf16);
  Gemm fused = product_of(left, false, right, true, rides ? y : z, s.N, s.O, s.I);
  fused.bias = bias.defined() ? bias.raw() : nullptr;
  if (rides) fused.act = act;
  if (rides && act == Activation::gelu_tanh && pre.defined()) fused.pre = pre.raw();
  if (gemm_tuned(fused, "linear_forward")) {
    if (!rides) finish_linear(s, z, {}, pre, y, act);
    return;
  }
  gemm(product_of(left, false, right, true, z, s.N, s.O, s.I), "linear_forward");
  finish_linear(s, z, bias, pre, y, act);
}

template <Product product>
void linear_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx) {
  const LinearSizes s = linear_sizes(dx, w);
  visit_device(dy.dtype(), "linear_backward_input", [](auto) {});
  if (dx.numel() == 0) return;
  if (s.O == 0) return dx.fill(0.0);
  const DType in = factor_dtype(dy, product);
  const Tensor left = dy.to(in), right = w.read_as(in);
  product(product_of(left, false, right, false, dx, s.N, s.I, s.O), "linear_backward_input");
}

/// db = Σ_n dy[n].
void sum_rows(const Tensor& dy, const LinearSizes& s, Tensor& db) {
  if (!db.defined()) return;
  Tensor sums = db.dtype() == DType::f32 ? db : Tensor::empty({s.O}, DType::f32, Device::cuda);
  visit_device(dy.dtype(), "linear_backward_weight",
               [&]<class T>(T) { sum_columns("linear_backward_weight", s.N, s.O, dy.data<T>(), sums.data<float>()); });
  if (!sums.shares_storage(db)) db.copy_from(sums);
}

template <Product product>
void linear_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db) {
  const char* where = "linear_backward_weight";
  const LinearSizes s = linear_sizes(x, dw);
  visit_device(dy.dtype(), where, [](auto) {});
  if (s.N == 0 || dw.numel() == 0) {
    dw.fill(0.0);
    return sum_rows(dy, s, db);
  }
  const DType in = factor_dtype(dy, product);
  const Tensor left = dy.to(in), right = x.to(in);
  const Gemm plain = product_of(left, true, right, false, dw, s.O, s.I, s.N);
  // The bias's gradient rides on the product where it sums dy itself, not dy rounded.
  if (product == gemm && db.defined() && left.dtype() == dy.dtype() && dw.dtype() == db.dtype()) {
    Gemm fused = plain;
    fused.sum_of_a = db.raw();
    if (gemm_tuned(fused, where)) return;
  }
  product(plain, where);
  sum_rows(dy, s, db);
}

/// dx ← dx ⊙ act'(pre). 3 · N·I elements moved; for the exact GELU 23 instructions and a quarter of a load an element
/// in bf16 (78 and 2 before there were packs).
template <class T, class F>
struct ThroughActivation {
  const T* pre;
  int64_t I;

  __device__ const T* row(int64_t r) const { return pre + r * I; }
  template <int kN>
  __device__ void operator()(const T* row, int64_t, int i, const Pack<T, kN>& dx, float (&g)[kN]) const {
    const Pack<T, kN> at = load<kN>(row + i);
#pragma unroll
    for (int j = 0; j < kN; ++j) g[j] = widen(dx.v[j]) * ActivationAs<T, F>::derivative(widen(at.v[j]));
  }
};

/// The same, and db (I) = Σ_n dx[n].
template <class F>
void through_activation(const LinearSizes& s, const Tensor& pre, Tensor& dx, Tensor& db) {
  const char* where = "linear_backward_activation";
  Tensor sums = db.dtype() == DType::f32 ? db : Tensor::empty({s.I}, DType::f32, Device::cuda);
  visit_device(dx.dtype(), where, [&]<class T>(T) {
    const ThroughActivation<T, F> f{pre.data<T>(), s.I};
    constexpr int kN = kWide<T>;
    if (s.I % kN == 0 && aligned16({pre.raw(), dx.raw()})) {
      change_rows<kN>(where, s.N, s.I, f, dx.data<T>(), false, sums.data<float>());
    } else {
      change_rows<1>(where, s.N, s.I, f, dx.data<T>(), false, sums.data<float>());
    }
  });
  if (!sums.shares_storage(db)) db.copy_from(sums);
}

/// dx = (dy w) ⊙ GELU'(pre) and its sums as one kernel of cuDNN's, where all is bf16 and it takes that; but sums that
/// must not vary are a pass of their own.
bool gelu_rides_back(const LinearSizes& s, const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx,
                     Tensor& db) {
  const bool with_sums = db.defined() && !deterministic();
  const cudnn::LinearGelu layer{.pass = cudnn::Pass::backward_input, .s = s, .bias = with_sums};
  if (!layer.pays()) return false;
  Tensor sums = with_sums && db.dtype() != DType::f32 ? Tensor::empty({s.I}, DType::f32, Device::cuda) : db;
  float* const to = with_sums ? sums.data<float>() : nullptr;
  if (!cudnn::run_backward(layer, dy.raw(), w.raw(), pre.raw(), dx.raw(), to)) return false;
  if (!with_sums) {
    sum_rows(dx, {.N = s.N, .I = s.O, .O = s.I}, db);
  } else if (!sums.shares_storage(db)) {
    db.copy_from(sums);
  }
  return true;
}

/// In bf16 tanh-GELU's derivative and the sum ride on the product, the sum rounded to dx's dtype; so do a large exact
/// GELU's on cuDNN's; else, and for ReLU, they are one pass behind it.
template <Product product>
void linear_backward_activation(const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx, Tensor& db,
                                Activation act) {
  const char* where = "linear_backward_activation";
  const LinearSizes s = linear_sizes(dx, w);
  visit_device(dy.dtype(), where, [](auto) {});
  const bool rides = product == gemm && act == Activation::gelu_tanh && dx.dtype() == DType::bf16;
  if (rides && dx.numel() > 0 && s.O > 0) {
    const DType in = factor_dtype(dy, product);
    const Tensor left = dy.to(in), right = w.read_as(in);
    Gemm fused = product_of(left, false, right, false, dx, s.N, s.I, s.O);
    fused.through = pre.raw();
    Tensor sum = db.defined() ? Tensor::empty({s.I}, dx.dtype(), Device::cuda) : db;
    fused.sum_of_c = sum.defined() ? sum.raw() : nullptr;
    if (gemm_tuned(fused, where)) {
      if (db.defined()) db.copy_from(sum);
      return;
    }
  }
  Tensor weight = w;
  if (product == gemm && act == Activation::gelu && dy.dtype() == DType::bf16 && dx.dtype() == DType::bf16) {
    weight = w.read_as(DType::bf16);
    if (gelu_rides_back(s, dy, weight, pre, dx, db)) return;
  }
  linear_backward_input<product>(dy, weight, dx);
  if (!db.defined()) return kernel::unary_backward(pre, dx, dx, unary_of(act));
  functor::visit(act, [&]<class F>(F) { through_activation<F>(s, pre, dx, db); });
}

[[maybe_unused]] const bool registered =
    kernel::matmul.define(Device::cuda, matmul<gemm_definition>) && kernel::matmul.tune(Device::cuda, matmul<gemm>) &&
    kernel::linear_forward.define(Device::cuda, linear_forward) &&
    kernel::linear_forward.tune(Device::cuda, linear_forward_tuned) &&
    kernel::linear_backward_input.define(Device::cuda, linear_backward_input<gemm_definition>) &&
    kernel::linear_backward_input.tune(Device::cuda, linear_backward_input<gemm>) &&
    kernel::linear_backward_weight.define(Device::cuda, linear_backward_weight<gemm_definition>) &&
    kernel::linear_backward_weight.tune(Device::cuda, linear_backward_weight<gemm>) &&
    kernel::linear_backward_activation.define(Device::cuda, linear_backward_activation<gemm_definition>) &&
    kernel::linear_backward_activation.tune(Device::cuda, linear_backward_activation<gemm>);

}  // namespace
}  // namespace sked::cuda
