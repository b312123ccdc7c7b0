// How near the kernels come to their floors: the copy bandwidth and the product rate measured here. Prints one line a
// kernel; nothing is asked of the figures (a card may be shared), but what was timed is checked by parity.cpp.

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "core/kernels/attention.h"
#include "core/kernels/batch_norm.h"
#include "core/kernels/conv.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/group_norm.h"
#include "core/kernels/index.h"
#include "core/kernels/l2_normalize.h"
#include "core/kernels/layer_norm.h"
#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/pool.h"
#include "core/kernels/random.h"
#include "core/kernels/reduce.h"
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

double print_bytes(const std::string& name, double bytes, double peak, const std::function<void()>& f) {
  const double seconds = seconds_of(f), rate = bytes / seconds;
  std::printf("speed: %-46s %9.3f ms %8.0f GB/s %4.0f %% of copying\n", name.c_str(), seconds * 1e3, rate * 1e-9,
              100 * rate / (peak > 0 ? peak : rate));
  return rate;
}

void print_operations(const char* name, double operations, const std::function<void()>& f) {
  const double seconds = seconds_of(f);
  std::printf("speed: %-46s %9.3f ms %8.1f TFLOP/s\n", name, seconds * 1e3, operations / seconds * 1e-12);
}

/// A line a kernel, named with what its activations are stored as.
struct Lines {
  DType dtype;
  double peak;  // of copying, in bytes/s
  void operator()(const std::string& kernel, double bytes, const std::function<void()>& f) const {
    print_bytes(kernel + ", " + name(dtype), bytes, peak, f);
  }
};

/// 65,536, or fewer (SKEDASTIC_SPEED_ROWS, a multiple of 64), to see the cases run where they are slow.
int64_t full_rows() {
  const char* const asked = std::getenv("SKEDASTIC_SPEED_ROWS");
  return asked ? std::atoll(asked) : 65536;
}

/// N rows of D, beyond any cache, and what belongs to a row or a column of them.
struct Rows {
  explicit Rows(DType dtype)
      : x(on_gpu({N, D}, dtype)),
        dy(on_gpu({N, D}, dtype)),
        y(Tensor::like(x)),
        gamma(on_gpu({D})),
        beta(on_gpu({D})),
        dgamma(gamma.clone()),
        dbeta(gamma.clone()),
        mean(Tensor::empty({N}, DType::f32, Device::cuda)),
        rstd(mean.clone()),
        tensor(static_cast<double>(x.bytes())) {}

  static constexpr int64_t D = 1024;
  const int64_t N = full_rows();  // 256 MiB in f32
  Tensor x, dy, y, gamma, beta, dgamma, dbeta, mean, rstd, none;
  double tensor;  // bytes of x
};

void element_wise(const Lines& line, Rows& r) {
  const double t = r.tensor;
  line("relu", 2 * t, [&] { kernel::unary_forward(r.x, r.y, Unary::relu); });
  line("gelu", 2 * t, [&] { kernel::unary_forward(r.x, r.y, Unary::gelu); });
  line("gelu backward", 3 * t, [&] { kernel::unary_backward(r.x, r.dy, r.y, Unary::gelu); });
  line("add", 3 * t, [&] { kernel::binary_forward(r.x, r.dy, r.y, Binary::add); });
  const Tensor row_of_x = r.gamma.to(line.dtype);
  line("add a row", 2 * t, [&] { kernel::binary_forward(r.x, row_of_x, r.y, Binary::add); });
  line("affine", 2 * t, [&] { kernel::affine(r.x, r.y, 2, 1); });
  line("dropout", 2 * t, [&] { kernel::dropout(r.x, r.y, RngAddress{1, 2, 3}, 0, 0.1); });
  line("drop_path", 2 * t, [&] { kernel::drop_path(r.x, r.y, RngAddress{1, 2, 3}, 0, 0.1); });
  Tensor other = Tensor::empty(r.x.shape(), line.dtype == DType::f32 ? DType::bf16 : DType::f32, Device::cuda);
  line("cast from", t + static_cast<double>(other.bytes()), [&] { kernel::cast(r.x, other); });
  Tensor column = Tensor::empty({r.D}, line.dtype, Device::cuda), row = Tensor::empty({r.N}, line.dtype, Device::cuda);
  line("sum of rows", t, [&] { kernel::reduce_forward(r.x, row, Reduce::sum, {r.N, r.D, 1}); });
  line("sum of columns", t, [&] { kernel::reduce_forward(r.x, column, Reduce::sum, {1, r.N, r.D}); });
}

void layouts(const Lines& line, Rows& r) {
  const double t = r.tensor;
  const Tensor heads = r.x.reshape(Shape{r.N / 64, 64, 16, 64});
  Tensor turned = Tensor::empty({r.N / 64, 16, 64, 64}, line.dtype, Device::cuda);
  line("permute heads", 2 * t, [&] { kernel::permute(heads, turned, {0, 2, 1, 3}); });
  Tensor half = Tensor::empty({r.N, r.D / 2}, line.dtype, Device::cuda);
  line("slice columns", t, [&] { kernel::slice(r.x, half, 1, r.D / 2); });
  line("slice_insert columns", t, [&] { kernel::slice_insert(half, r.y, 1, 0); });
  const Tensor column = on_gpu({r.N, 1}, line.dtype);
  line("broadcast_to", t, [&] { kernel::broadcast_to(column, r.y); });
  const Tensor bytes = Tensor::zeros({r.N / 4, 3072}, DType::u8, Device::cuda).reshape(Shape{r.N / 4, 1024, 3});
  const Tensor table = on_gpu({256, 3});
  Tensor numbers = Tensor::empty(bytes.shape(), line.dtype, Device::cuda);
  line("look_up", static_cast<double>(bytes.bytes() + numbers.bytes()),
       [&] { kernel::look_up(bytes, table, numbers); });
}

void row_norms(const Lines& line, Rows& r) {
  const double t = r.tensor;
  Tensor sum = Tensor::like(r.x);
  line("layer_norm_forward", 2 * t,
       [&] { kernel::layer_norm_forward(r.x, {}, r.gamma, r.beta, r.none, r.y, r.mean, r.rstd, 1e-6); });
  line("layer_norm_forward + residual", 4 * t,
       [&] { kernel::layer_norm_forward(r.x, r.dy, r.gamma, r.beta, sum, r.y, r.mean, r.rstd, 1e-6); });
  line("layer_norm_backward", 3 * t,
       [&] { kernel::layer_norm_backward(r.dy, r.x, r.gamma, r.mean, r.rstd, {}, r.y, r.dgamma, r.dbeta); });
  line("layer_norm_backward + residual", 4 * t,
       [&] { kernel::layer_norm_backward(r.dy, r.x, r.gamma, r.mean, r.rstd, r.dy, r.y, r.dgamma, r.dbeta); });
  line("l2_normalize_forward", 2 * t, [&] { kernel::l2_normalize_forward(r.x, r.y, r.rstd, kLengthEps); });
  line("l2_normalize_backward", 3 * t, [&] { kernel::l2_normalize_backward(r.dy, r.x, r.rstd, r.y); });
}

/// Floors of training: statistics read x once more than what is written with them.
void channel_norms(const Lines& line, Rows& r) {
  const double t = r.tensor;
  Tensor mean = r.gamma.clone(), rstd = r.gamma.clone(), rm = r.gamma.clone(), sum = Tensor::like(r.x),
         rv = Tensor::full({r.D}, 1, DType::f32, Device::cuda);
  const auto forward = [&](const Tensor& residual, bool relu) {
    kernel::batch_norm_forward(r.x, residual, r.gamma, r.beta, r.y, mean, rstd, rm, rv, 0.1, 1e-5, relu);
  };
  line("batch_norm_forward + relu", 3 * t, [&] { forward({}, true); });
  line("batch_norm_forward + residual, relu", 4 * t, [&] { forward(r.dy, true); });
  line("batch_norm_inference + residual, relu", 3 * t,
       [&] { kernel::batch_norm_inference(r.x, r.dy, r.gamma, r.beta, rm, rv, r.y, 1e-5, true); });
  forward({}, true);
  Tensor dx = Tensor::like(r.x);
  const auto backward = [&](Tensor& dresidual) {
    kernel::batch_norm_backward(r.dy, r.x, r.y, r.gamma, mean, rstd, dx, dresidual, r.dgamma, r.dbeta, true);
  };
  line("batch_norm_backward + relu", 7 * t, [&] { backward(r.none); });
  line("batch_norm_backward + residual, relu", 8 * t, [&] { backward(sum); });
  const int64_t images = r.N / 64, groups = 32;
  const Tensor x = r.x.reshape(Shape{images, r.N / images, r.D}), dy = r.dy.reshape(x.shape());
  Tensor y = r.y.reshape(x.shape()), m = Tensor::empty({images, groups}, DType::f32, Device::cuda), s = m.clone();
  line("group_norm_forward", 3 * t, [&] { kernel::group_norm_forward(x, r.gamma, r.beta, y, m, s, groups, 1e-5); });
  line("group_norm_backward", 5 * t,
       [&] { kernel::group_norm_backward(dy, x, r.gamma, m, s, y, r.dgamma, r.dbeta, groups); });
}

void pooling(const Lines& line) {
  // The stem of a ResNet-50 at 256 images.
  const int64_t images = full_rows() / 64 / 4, S = 112, C = 64;
  const Tensor x = on_gpu({images, S, S, C}, line.dtype), dy = on_gpu({images, S / 2, S / 2, C}, line.dtype);
  Tensor y = Tensor::like(dy), dx = Tensor::like(x), which = Tensor::empty(dy.shape(), DType::u8, Device::cuda);
  const auto both = static_cast<double>(x.bytes() + y.bytes()), chosen = static_cast<double>(which.bytes());
  line("max_pool2d_forward 3x3", both + chosen, [&] { kernel::max_pool2d_forward(x, y, which, Window{3, 2, 1, 1}); });
  line("max_pool2d_backward 3x3", both + chosen, [&] {
    kernel::max_pool2d_backward(dy, which, dx, Window{3, 2, 1, 1});
  });
  line("avg_pool2d_forward 2x2", both, [&] { kernel::avg_pool2d_forward(x, y, Window{2, 2, 0, 1}); });
  line("avg_pool2d_backward 2x2", both, [&] { kernel::avg_pool2d_backward(dy, dx, Window{2, 2, 0, 1}); });
}

/// What is f32 whatever the network's activations are: logits, noise, parameters.
void always_f32(const Lines& line) {
  Rows r(DType::f32);
  const double t = r.tensor;
  line("softmax_forward", 2 * t, [&] { kernel::softmax_forward(r.x, r.y); });
  line("softmax_backward", 3 * t, [&] { kernel::softmax_backward(r.dy, r.y, r.x); });
  const Tensor labels = hash_labels(r.N, r.D, 2).to(Device::cuda);
  line("cross_entropy_forward", t, [&] { kernel::cross_entropy_forward(r.x, labels, r.mean, r.rstd); });
  line("cross_entropy_backward", 2 * t, [&] { kernel::cross_entropy_backward(r.mean, r.x, labels, r.rstd, r.y); });
  const Tensor ids = Tensor::zeros({1}, DType::i64, Device::cuda);
  line("gaussian_noise", t, [&] {
    Tensor flat = r.y.reshape(Shape{1, r.N, r.D});
    kernel::gaussian_noise(ids, flat, RngAddress{1, 2, 3}, 0);
  });
  TensorList p{r.y}, g{r.dy}, first{Tensor::zeros_like(r.x)}, none, averages{r.x},
      second{Tensor::full(r.x.shape(), 1, DType::f32, Device::cuda)},
      rounded{Tensor::empty(r.x.shape(), DType::bf16, Device::cuda)};
  Tensor norm = Tensor::empty({1}, DType::f32, Device::cuda);
  line("sgd_step", 5 * t, [&] { kernel::sgd_step(p, g, first, none, none, {0.1}, {}, {1e-3, 0.9, true, false}); });
  line("sgd_step + rounded copies", 5.5 * t, [&] {
    kernel::sgd_step(p, g, first, rounded, none, {0.1}, {}, {1e-3, 0.9, true, false});
  });
  line("adam_step", 7 * t, [&] {
    kernel::adam_step(p, g, first, second, none, none, {0.1}, {}, {1e-3, 0.9, 0.999, 1e-8, true, 3});
  });
  line("adam_step + rounded copies", 7.5 * t, [&] {
    kernel::adam_step(p, g, first, second, rounded, none, {0.1}, {}, {1e-3, 0.9, 0.999, 1e-8, true, 3});
  });
  line("ema_step", 3 * t, [&] { kernel::ema_step(averages, p, 0.999); });
  line("global_norm", t, [&] { kernel::global_norm(g, norm); });
}

void memory_bound() {
  double peak = 0;
  {
    Rows r(DType::f32);
    peak = print_bytes("copy", 2 * r.tensor, 0, [&] { r.y.copy_from(r.x); });
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Lines line{dtype, peak};
    Rows r(dtype);
    element_wise(line, r);
    layouts(line, r);
    row_norms(line, r);
    channel_norms(line, r);
    pooling(line);
  }
  always_f32({DType::f32, peak});
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

// Only where they are asked for (--no-skip): they check nothing.
TEST_CASE("speed: kernels beside the copy bandwidth" * doctest::skip()) {
  if (no_gpu("speed of kernels")) return;
  memory_bound();
}

TEST_CASE("speed: products in TFLOP/s" * doctest::skip()) {
  if (no_gpu("speed of products")) return;
  products();
  for (const DType dtype : {DType::f32, DType::bf16}) attention(dtype);
  linear_gelu();
  convolutions(DType::f32, Precision::f32);
  convolutions(DType::f32, Precision::tf32);
  convolutions(DType::bf16, Precision::f32);
}

}  // namespace sked::test
