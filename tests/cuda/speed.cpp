// How near the kernels come to their floors: the copy bandwidth and the product rate measured here. Prints one line a
// kernel; nothing is asked of the figures (a card may be shared), but what was timed is checked by parity.cpp.

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>

#include "core/kernels/attention.h"
#include "core/kernels/batch_norm.h"
#include "core/kernels/conv.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/layer_norm.h"
#include "core/kernels/matmul.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/random.h"
#include "core/kernels/softmax.h"
#include "core/precision.h"
#include "tests/common/gpu.h"
#include "tests/common/hash_weights.h"

namespace sked::test {
namespace {

Tensor on_gpu(const Shape& shape, DType dtype = DType::f32) {
  Tensor t = Tensor::empty(shape, DType::f32, Device::cuda);
  const Tensor ids = Tensor::from<int64_t>({0}, {1}).to(Device::cuda);
  Tensor flat = t.reshape(Shape{1, 1, shape.numel()});
  kernel::gaussian_noise(ids, flat, RngAddress{1, 2, 3}, 0);
  return t.to(dtype);
}

/// Seconds of one call: the median of seven batches of twenty.
double seconds_of(const std::function<void()>& f) {
  constexpr int kCalls = 20;
  f();
  std::vector<double> seconds;
  for (int round = 0; round < 7; ++round) {
    memory(Device::cuda).synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) f();
    memory(Device::cuda).synchronize();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / kCalls);
  }
  std::nth_element(seconds.begin(), seconds.begin() + 3, seconds.end());
  return seconds[3];
}

double print_bytes(const char* name, double bytes, double peak, const std::function<void()>& f) {
  const double seconds = seconds_of(f), rate = bytes / seconds;
  std::printf("speed: %-34s %9.3f ms %8.0f GB/s %4.0f %% of copying\n", name, seconds * 1e3, rate * 1e-9,
              100 * rate / (peak > 0 ? peak : rate));
  return rate;
}

void print_operations(const char* name, double operations, const std::function<void()>& f) {
  const double seconds = seconds_of(f);
  std::printf("speed: %-40s %9.3f ms %8.1f TFLOP/s\n", name, seconds * 1e3, operations / seconds * 1e-12);
}

void memory_bound() {
  const int64_t N = 65536, D = 1024;  // 256 MiB in f32: beyond any cache
  const double tensor = 4.0 * static_cast<double>(N * D);
  const Tensor x = on_gpu({N, D}), dy = on_gpu({N, D});
  Tensor y = Tensor::like(x), mean = Tensor::empty({N}, DType::f32, Device::cuda), rstd = mean.clone();
  Tensor gamma = on_gpu({D}), beta = on_gpu({D}), dgamma = gamma.clone(), dbeta = gamma.clone(), rm = gamma.clone(),
         rv = Tensor::full({D}, 1, DType::f32, Device::cuda), m = gamma.clone(), r = gamma.clone();
  const double peak = print_bytes("copy", 2 * tensor, 0, [&] { y.copy_from(x); });
  print_bytes("gelu", 2 * tensor, peak, [&] { kernel::unary_forward(x, y, Unary::gelu); });
  print_bytes("gelu backward", 3 * tensor, peak, [&] { kernel::unary_backward(x, dy, y, Unary::gelu); });
  print_bytes("add", 3 * tensor, peak, [&] { kernel::binary_forward(x, dy, y, Binary::add); });
  print_bytes("add a row", 2 * tensor, peak, [&] { kernel::binary_forward(x, gamma, y, Binary::add); });
  Tensor sum = Tensor::like(x), no_sum;
  print_bytes("layer_norm_forward", 2 * tensor, peak,
              [&] { kernel::layer_norm_forward(x, {}, gamma, beta, no_sum, y, mean, rstd, 1e-6); });
  print_bytes("layer_norm_forward + residual", 4 * tensor, peak,
              [&] { kernel::layer_norm_forward(x, dy, gamma, beta, sum, y, mean, rstd, 1e-6); });
  print_bytes("layer_norm_backward", 3 * tensor, peak,
              [&] { kernel::layer_norm_backward(dy, x, gamma, mean, rstd, {}, y, dgamma, dbeta); });
  print_bytes("layer_norm_backward + residual", 4 * tensor, peak,
              [&] { kernel::layer_norm_backward(dy, x, gamma, mean, rstd, dy, y, dgamma, dbeta); });
  print_bytes("batch_norm_forward", 3 * tensor, peak,
              [&] { kernel::batch_norm_forward(x, {}, gamma, beta, y, m, r, rm, rv, 0.1, 1e-5, true); });
  print_bytes("softmax_forward", 2 * tensor, peak, [&] { kernel::softmax_forward(x, y); });
  print_bytes("gaussian_noise", tensor, peak, [&] {
    Tensor flat = y.reshape(Shape{1, N, D});
    kernel::gaussian_noise(Tensor::zeros({1}, DType::i64, Device::cuda), flat, RngAddress{1, 2, 3}, 0);
  });
  TensorList p{y}, g{dy}, first{Tensor::zeros_like(x)}, second{Tensor::full({N, D}, 1, DType::f32, Device::cuda)}, none;
  print_bytes("adam_step", 7 * tensor, peak, [&] {
    kernel::adam_step(p, g, first, second, none, none, {0.1}, {}, {1e-3, 0.9, 0.999, 1e-8, true, 3});
  });
}

void products() {
  const int64_t n = 8192;
  const double operations = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  for (const Precision precision : {Precision::f32, Precision::tf32, Precision::bf16}) {
    set_product_precision(precision);
    const Tensor a = on_gpu({n, n}), b = on_gpu({n, n});
    Tensor c = Tensor::like(a);
    print_operations((std::string("matmul 8192^3, f32 tensors, ") + name(precision)).c_str(), operations,
                     [&] { kernel::matmul(a, b, c, false, true, false); });
  }
  set_product_precision(Precision::f32);
  const Tensor a = on_gpu({n, n}, DType::bf16), b = on_gpu({n, n}, DType::bf16);
  Tensor c = Tensor::like(a);
  print_operations("matmul 8192^3, bf16 tensors", operations, [&] { kernel::matmul(a, b, c, false, true, false); });
}

void attention(DType dtype) {
  const int64_t N = 64, T = 197, H = 6, E = 64;
  const Tensor qkv = on_gpu({N, T, 3, H, E}, dtype), dy = on_gpu({N, T, H, E}, dtype);
  Tensor y = Tensor::like(dy), lse = Tensor::empty({N, H, T}, DType::f32, Device::cuda), dqkv = Tensor::like(qkv);
  const double operations = 4.0 * static_cast<double>(N * H * T * T * E);
  print_operations((std::string("attention_forward ViT-S, ") + name(dtype)).c_str(), operations,
                   [&] { kernel::attention_forward(qkv, y, lse, 0.125, false); });
  print_operations((std::string("attention_backward ViT-S, ") + name(dtype)).c_str(), 2.5 * operations,
                   [&] { kernel::attention_backward(dy, qkv, y, lse, dqkv, 0.125, false); });
}

/// Products of a ViT-S at 256 images without and with the GELU behind or before them: the difference is what it costs.
void linear_gelu() {
  const int64_t N = 50432, D = 384, H = 1536;
  const Tensor x = on_gpu({N, D}, DType::bf16), w = on_gpu({H, D}, DType::bf16), b = on_gpu({H}),
               v = on_gpu({D, H}, DType::bf16);
  Tensor y = Tensor::empty({N, H}, DType::bf16, Device::cuda), pre = y.clone(), dx = y.clone(), db = b.clone(), none;
  const double operations = 2.0 * static_cast<double>(N) * static_cast<double>(D * H);
  for (const Activation act : {Activation::none, Activation::gelu})
    print_operations((std::string("linear_forward ViT-S, ") + name(act)).c_str(), operations,
                     [&] { kernel::linear_forward(x, w, b, y, act == Activation::none ? none : pre, act); });
  print_operations("linear_backward_input ViT-S", operations, [&] { kernel::linear_backward_input(x, v, dx); });
  print_operations("linear_backward_activation ViT-S, gelu", operations,
                   [&] { kernel::linear_backward_activation(x, v, pre, dx, db, Activation::gelu); });
}

/// A ResNet-50's 3×3 convolution of 28×28 images of 128 channels.
void convolutions(DType dtype, Precision precision) {
  set_product_precision(precision);
  const int64_t N = 64, S = 28, C = 128;
  const Window window{3, 1, 1, 1};
  const Tensor x = on_gpu({N, S, S, C}, dtype), w = on_gpu({C, C, 3, 3}), dy = on_gpu({N, S, S, C}, dtype);
  Tensor y = Tensor::like(x), dw = Tensor::like(w), none;
  const double operations = 2.0 * static_cast<double>(N * S * S * C * C * 9);
  const std::string what =
      std::string(name(dtype)) + (dtype == DType::f32 ? std::string(" as ") + name(precision) : "");
  print_operations(("conv2d_forward 3x3, " + what).c_str(), operations,
                   [&] { kernel::conv2d_forward(x, w, none, y, window); });
  print_operations(("conv2d_backward_input 3x3, " + what).c_str(), operations,
                   [&] { kernel::conv2d_backward_input(dy, w, y, window); });
  print_operations(("conv2d_backward_weight 3x3, " + what).c_str(), operations,
                   [&] { kernel::conv2d_backward_weight(dy, x, dw, none, window); });
  set_product_precision(Precision::f32);
}

}  // namespace

// Only where it is asked for (--no-skip): it checks nothing.
TEST_CASE("speed: kernels beside the copy bandwidth, products in TFLOP/s" * doctest::skip()) {
  if (no_gpu("speed of kernels")) return;
  memory_bound();
  products();
  for (const DType dtype : {DType::f32, DType::bf16}) attention(dtype);
  linear_gelu();
  convolutions(DType::f32, Precision::f32);
  convolutions(DType::f32, Precision::tf32);
  convolutions(DType::bf16, Precision::f32);
}

}  // namespace sked::test
