// Linear layers with the exact GELU where cuDNN makes one kernel of them: what they compute, when the kernels of
// matmul.h take them, and how many launches that saves. tests/cuda/cudnn.cpp asks for their plans without a GPU.

#include <doctest/doctest.h>

#include <cmath>
#include <iostream>

#include "core/kernels/matmul.h"
#include "core/precision.h"
#include "core/work_count.h"
#include "cuda/cudnn.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"
#include "tests/cuda/parity.h"

namespace sked::test {
namespace {

using cuda::cudnn::LinearGelu;
using cuda::cudnn::Pass;

const void* address(const Tensor& t) { return t.defined() ? t.raw() : nullptr; }
void* address(Tensor& t) { return t.defined() ? t.raw() : nullptr; }

/// y, pre from x, w, b: by cuDNN's kernel, whatever its size; on the CPU by the definition. False: it is not taken.
bool forward(const TensorList& in, TensorList& out) {
  const Tensor &x = in[0], &w = in[1], &b = in[2];
  if (x.device() == Device::cpu) {
    kernel::linear_forward(x, w, b, out[0], out[1], Activation::gelu);
    return true;
  }
  LinearGelu layer{Pass::forward, {x.dim(0), x.dim(1), w.dim(0)}};
  layer.bias = b.defined(), layer.pre = out[1].defined();
  if (layer.bias) layer.bias_dtype = b.dtype();
  return cuda::cudnn::run_forward(layer, x.raw(), w.raw(), address(b), out[0].raw(), address(out[1]));
}

/// The same: dx, db from dy, w, pre.
bool backward(const TensorList& in, TensorList& out) {
  const Tensor &dy = in[0], &w = in[1], &pre = in[2];
  if (dy.device() == Device::cpu) {
    kernel::linear_backward_activation(dy, w, pre, out[0], out[1], Activation::gelu);
    return true;
  }
  LinearGelu layer{Pass::backward_input, {dy.dim(0), w.dim(1), w.dim(0)}};
  layer.bias = out[1].defined();
  float* const db = layer.bias ? out[1].data<float>() : nullptr;
  return cuda::cudnn::run_backward(layer, dy.raw(), w.raw(), pre.raw(), out[0].raw(), db);
}

Tensor there(const Tensor& t, DType dtype = DType::bf16) { return t.to(Device::cuda).to(dtype); }

bool offered() {
  const TensorList in = {there(hash_tensor({8, 8}, 1)), there(hash_tensor({8, 8}, 2)), {}};
  TensorList out = {Tensor::like(in[0]), {}};
  return forward(in, out);
}

bool no_kernel(const char* what) {
  if (no_gpu(what)) return true;
  if (offered()) return false;
  std::cout << "skipped: no cuDNN here, or it has no kernel: " << what << "\n";
  return true;
}

/// Compares one call of each pass with the CPU in double. `spread`: how far the numbers go that GELU is taken of.
void compare(const LinearSizes& s, bool extras, DType bias, double spread) {
  Tensor x = hash_tensor({s.N, s.I}, 1), hidden = hash_tensor({s.N, s.I}, 5);
  for (Tensor* const t : {&x, &hidden})
    for (int64_t i = 0; i < t->numel(); ++i) t->data<float>()[i] *= static_cast<float>(spread);
  const Tensor w = hash_tensor({s.O, s.I}, 2), b = hash_tensor({s.O}, 3), dy = hash_tensor({s.N, s.O}, 4);
  const auto taken = [](auto call) {
    return [call](const TensorList& in, TensorList& out) { REQUIRE(call(in, out)); };
  };
  using Which = std::vector<size_t>;
  KernelCase layer = case_of(kernel::linear_forward, x.str(), {x, w, extras ? b : Tensor()},
                             {unset({s.N, s.O}), extras ? unset({s.N, s.O}) : Tensor()}, Activation::gelu);
  layer.call = taken(forward);
  layer.stored_in_bf16(extras && bias == DType::bf16 ? Which{0, 1, 2} : Which{0, 1}, {0, 1});
  check_bf16_parity(layer);
  KernelCase back = case_of(kernel::linear_backward_activation, dy.str(), {dy, w, hidden},
                            {unset({s.N, s.I}), extras ? unset({s.I}) : Tensor()}, Activation::gelu);
  back.call = taken(backward);
  check_bf16_parity(back.stored_in_bf16({0, 1, 2}, {0}));
}

struct Launches {
  int64_t forward, backward;
  bool operator==(const Launches&) const = default;
};

/// Of a layer (N,I) → (N,O) and its GELU, and of the way back through both, with f32 masters beside bf16. `shift`: the
/// bias starts that many numbers behind a place of 16 bytes.
Launches launches(const LinearSizes& s, int64_t shift = 0) {
  const auto make = [](const Shape& shape, DType dtype) { return Tensor::zeros(shape, dtype, Device::cuda); };
  const Tensor x = make({s.N, s.I}, DType::bf16), w = make({s.O, s.I}, DType::f32), back = make({s.I, s.O}, DType::f32);
  const Tensor b = make({s.O + shift}, DType::f32).rows(shift, s.O + shift);
  Tensor y = make({s.N, s.O}, DType::bf16), pre = y.clone(), dx = y.clone(), db = make({s.O}, DType::f32);
  Launches counted{};
  {
    const WorkCount count;
    kernel::linear_forward(x, w, b, y, pre, Activation::gelu);
    counted.forward = count.total().launches;
  }
  const WorkCount count;
  kernel::linear_backward_activation(x, back, pre, dx, db, Activation::gelu);
  counted.backward = count.total().launches;
  return counted;
}

/// Kernels of matmul.h on what is large enough for one of cuDNN's.
void check_large(const LinearSizes& s) {
  const Tensor x = hash_tensor({s.N, s.I}, 1), w = hash_tensor({s.O, s.I}, 2), b = hash_tensor({s.O}, 3);
  const Tensor back = hash_tensor({s.I, s.O}, 6), hidden = hash_tensor({s.N, s.O}, 5);
  for (const bool extras : {false, true}) {
    check_bf16_parity(case_of(kernel::linear_forward, "large", {x, w, extras ? b : Tensor()},
                              {unset({s.N, s.O}), extras ? unset({s.N, s.O}) : Tensor()}, Activation::gelu)
                          .stored_in_bf16({0}, {0, 1}));
    check_bf16_parity(case_of(kernel::linear_backward_activation, "large", {x, back, hidden},
                              {unset({s.N, s.O}), extras ? unset({s.O}) : Tensor()}, Activation::gelu)
                          .stored_in_bf16({0, 2}, {0}));
  }
}

struct Deterministic {
  explicit Deterministic(bool wanted) { set_deterministic(wanted); }
  ~Deterministic() { set_deterministic(false); }
};

const LinearSizes kLeast = {2048, 16, 2048};  // the smallest result that pays, by a short product

}  // namespace

TEST_CASE("linear gelu: cuDNN's kernel computes the layer, its GELU and the way back") {
  if (no_kernel("linear layers with their GELU as one kernel")) return;
  for (const LinearSizes& s : {LinearSizes{1, 16, 8}, {130, 64, 24}, {197, 96, 384}})
    for (const double spread : {1.0, 40.0}) {
      CAPTURE(s.N);
      CAPTURE(s.I);
      CAPTURE(s.O);
      compare(s, false, DType::f32, spread);
      compare(s, true, DType::f32, spread);
      compare(s, true, DType::bf16, spread);
    }
}

TEST_CASE("linear gelu: not a number stays none in cuDNN's kernel, and only in its row") {
  if (no_kernel("not a number in linear layers with their GELU")) return;
  Tensor x = hash_tensor({4, 8}, 1);
  x.data<float>()[8] = NAN;
  const Tensor w = there(hash_tensor({16, 8}, 2)), back = there(hash_tensor({8, 16}, 3));
  TensorList out = {Tensor::empty({4, 16}, DType::bf16, Device::cuda), {}}, sums = {Tensor::like(out[0]), {}};
  REQUIRE(forward({there(x), w, {}}, out));
  Tensor hidden = hash_tensor({4, 16}, 5);
  hidden.data<float>()[33] = NAN;
  REQUIRE(backward({there(x), back, there(hidden)}, sums));
  const std::vector<double> y = out[0].to(Device::cpu).to_vector<double>(),
                            dx = sums[0].to(Device::cpu).to_vector<double>();
  for (size_t i = 0; i < y.size(); ++i) {
    CHECK(std::isnan(y[i]) == (i / 16 == 1));
    CHECK(std::isnan(dx[i]) == (i / 16 == 1 || i == 33));
  }
}

TEST_CASE("linear gelu: it pays from a size on, in whole rows of 16 bytes") {
  const auto pays = [](Pass pass, const LinearSizes& s) { return LinearGelu{pass, s}.pays(); };
  CHECK(pays(Pass::forward, {50432, 384, 1536}));
  CHECK(pays(Pass::backward_input, {50432, 1536, 384}));
  CHECK(pays(Pass::forward, kLeast));
  CHECK_FALSE(pays(Pass::backward_input, kLeast));  // its result is narrow
  CHECK_FALSE(pays(Pass::forward, {2047, 16, 2048}));
  CHECK_FALSE(pays(Pass::forward, {50432, 388, 1536}));
  CHECK_FALSE(pays(Pass::forward, {50432, 384, 1540}));
  CHECK_FALSE(pays(Pass::forward, {50432, 0, 1536}));
}

TEST_CASE("linear gelu: large layers agree with the CPU, whoever computes them") {
  if (no_gpu("large linear layers with their GELU")) return;
  for (const bool fixed : {false, true}) {
    const Deterministic as(fixed);
    check_large(kLeast);
  }
}

TEST_CASE("linear gelu: one launch forward and one back, beside the weights' rounding and what sums need") {
  if (no_gpu("launches of linear layers with their GELU")) return;
  for (const bool fixed : {false, true}) {
    const Deterministic as(fixed);
    const Launches small = launches({2040, 16, 2048}), large = launches(kLeast);
    std::cout << "linear gelu: launches " << small.forward << " + " << small.backward << ", large " << large.forward
              << " + " << large.backward << (fixed ? ", deterministic" : "") << "\n";
    CHECK(small == Launches{4, 4});
    CHECK(large == (offered() ? Launches{2, fixed ? 4 : 3} : small));
    CHECK(launches(kLeast, 1).forward == small.forward);  // cuDNN refuses such a bias
  }
}

}  // namespace sked::test
