// Kernels on the shapes that the benchmarked models use.

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/bench/bench.h"
#include "core/kernels/attention.h"
#include "core/kernels/batch_norm.h"
#include "core/kernels/conv.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/layer_norm.h"
#include "core/kernels/matmul.h"
#include "core/kernels/random.h"
#include "core/kernels/softmax.h"
#include "core/precision.h"

namespace sked::bench {
namespace {

/// A kernel call with its inputs: `call` fills and returns the outputs that are compared.
struct KernelCase {
  std::string name;
  double operations, bytes;
  std::function<TensorList()> call;
};

Tensor random_tensor(const Shape& shape) {
  static uint64_t stream = 0;
  Tensor noise = Tensor::empty({1, 1, shape.numel()});
  kernel::gaussian_noise(Tensor::zeros({1}, DType::i64), noise, RngAddress{11, ++stream, 0}, 0);
  return noise.reshape(shape);
}

double relative_error(const TensorList& got, const TensorList& expected) {
  double worst = 0;
  for (size_t t = 0; t < got.size(); ++t) {
    const std::vector<double> a = got[t].to_vector<double>(), b = expected[t].to_vector<double>();
    double difference = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) difference += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
    worst = std::max(worst, std::sqrt(difference / std::max(size, 1e-300)));
  }
  return worst;
}

KernelCase conv_case(const std::string& what, int64_t n, int64_t edge, int64_t in, int64_t out, Window window) {
  const int64_t result = window.output(edge);
  const Tensor x = random_tensor({n, edge, edge, in}), w = random_tensor({out, in, window.kernel, window.kernel});
  const Tensor dy = random_tensor({n, result, result, out});
  const double taps = static_cast<double>(in * window.kernel * window.kernel);
  KernelCase c{"conv2d " + what + " " + std::to_string(in) + "->" + std::to_string(out) + " k" +
                   std::to_string(window.kernel) + " s" + std::to_string(window.stride) + " " + std::to_string(edge) +
                   "x" + std::to_string(edge),
               2.0 * static_cast<double>(dy.numel()) * taps,
               0,
               {}};
  if (what == "forward")
    c.call = [=] {
      Tensor y = Tensor::like(dy);
      kernel::conv2d_forward(x, w, Tensor(), y, window);
      return TensorList{y};
    };
  else if (what == "backward_input")
    c.call = [=] {
      Tensor dx = Tensor::like(x);
      kernel::conv2d_backward_input(dy, w, dx, window);
      return TensorList{dx};
    };
  else
    c.call = [=] {
      Tensor dw = Tensor::like(w), db;
      kernel::conv2d_backward_weight(dy, x, dw, db, window);
      return TensorList{dw};
    };
  return c;
}

void add_convolutions(std::vector<KernelCase>& cases) {
  for (const char* what : {"forward", "backward_input", "backward_weight"}) {
    cases.push_back(conv_case(what, 64, 32, 64, 64, {.kernel = 3, .stride = 1, .padding = 1}));
    cases.push_back(conv_case(what, 64, 32, 64, 128, {.kernel = 3, .stride = 2, .padding = 1}));
    cases.push_back(conv_case(what, 64, 8, 256, 256, {.kernel = 3, .stride = 1, .padding = 1}));
  }
}

void add_linear(std::vector<KernelCase>& cases) {
  const int64_t n = 16 * 197, d = 384, h = 1536;
  const Tensor x = random_tensor({n, d}), w = random_tensor({h, d}), b = random_tensor({h}), dy = random_tensor({n, h});
  const double operations = 2.0 * static_cast<double>(n * d * h);
  cases.push_back({"linear_forward + gelu 3152x384->1536", operations, 0, [=] {
                     Tensor y = Tensor::like(dy), pre = Tensor::like(dy);
                     kernel::linear_forward(x, w, b, y, pre, Activation::gelu);
                     return TensorList{y, pre};
                   }});
  cases.push_back({"linear_backward_input 3152x1536->384", operations, 0, [=] {
                     Tensor dx = Tensor::like(x);
                     kernel::linear_backward_input(dy, w, dx);
                     return TensorList{dx};
                   }});
  cases.push_back({"linear_backward_weight 1536x384", operations, 0, [=] {
                     Tensor dw = Tensor::like(w), db = Tensor::like(b);
                     kernel::linear_backward_weight(dy, x, dw, db);
                     return TensorList{dw, db};
                   }});
}

void add_attention(std::vector<KernelCase>& cases) {
  const int64_t n = 16, t = 197, heads = 6, e = 64;
  const Tensor qkv = random_tensor({n, t, 3, heads, e}), dy = random_tensor({n, t, heads, e});
  const double product = 2.0 * static_cast<double>(n * heads * t * t * e);
  const double scale = 1 / std::sqrt(static_cast<double>(e));
  Tensor y = Tensor::like(dy), lse = Tensor::empty({n, heads, t});
  kernel::attention_forward(qkv, y, lse, scale, false);
  cases.push_back({"attention_forward 16x197x6x64", 2 * product, 0, [=]() mutable {
                     kernel::attention_forward(qkv, y, lse, scale, false);
                     return TensorList{y, lse};
                   }});
  cases.push_back({"attention_backward 16x197x6x64", 5 * product, 0, [=] {
                     Tensor dqkv = Tensor::like(qkv);
                     kernel::attention_backward(dy, qkv, y, lse, dqkv, scale, false);
                     return TensorList{dqkv};
                   }});
}

void add_memory_bound(std::vector<KernelCase>& cases) {
  const Tensor x = random_tensor({16 * 197, 384}), gamma = random_tensor({384}), beta = random_tensor({384});
  const double size = static_cast<double>(x.bytes());
  cases.push_back({"layer_norm_forward 3152x384", 0, 2 * size, [=] {
                     Tensor y = Tensor::like(x), mean = Tensor::empty({x.dim(0)}), rstd = Tensor::like(mean);
                     kernel::layer_norm_forward(x, gamma, beta, y, mean, rstd, 1e-6);
                     return TensorList{y};
                   }});
  const Tensor wide = random_tensor({16 * 197, 1536});
  cases.push_back({"unary_forward gelu 3152x1536", 0, 2 * static_cast<double>(wide.bytes()), [=] {
                     Tensor y = Tensor::like(wide);
                     kernel::unary_forward(wide, y, Unary::gelu);
                     return TensorList{y};
                   }});
  const Tensor logits = random_tensor({4096, 1000});
  cases.push_back({"log_softmax_forward 4096x1000", 0, 2 * static_cast<double>(logits.bytes()), [=] {
                     Tensor y = Tensor::like(logits);
                     kernel::log_softmax_forward(logits, y);
                     return TensorList{y};
                   }});
  const Tensor map = random_tensor({64, 32, 32, 64}), residual = random_tensor({64, 32, 32, 64});
  const Tensor scale = random_tensor({64}), shift = random_tensor({64});
  cases.push_back({"batch_norm_forward + residual + relu 65536x64", 0, 4 * static_cast<double>(map.bytes()), [=] {
                     Tensor y = Tensor::like(map), mean = Tensor::empty({64}), rstd = Tensor::empty({64});
                     Tensor running_mean = Tensor::zeros({64}), running_var = Tensor::zeros({64});
                     kernel::batch_norm_forward(map, residual, scale, shift, y, mean, rstd, running_mean, running_var,
                                                0.1, 1e-5, true);
                     return TensorList{y};
                   }});
  const Tensor examples = Tensor::zeros({64}, DType::i64);
  cases.push_back({"gaussian_noise 64x64x1024", 0, 64 * 64 * 1024 * 4.0, [=] {
                     Tensor noise = Tensor::empty({64, 64, 1024});
                     kernel::gaussian_noise(examples, noise, RngAddress{1, 2, 3}, 0);
                     return TensorList{noise};
                   }});
}

}  // namespace

double gemm_peak(const Settings& settings) {
  const bool gpu = settings.device == Device::cuda;
  const int64_t n = gemm_size(settings);
  const int calls = gpu ? 10 : 1;
  const auto factor = [&] { return random_tensor({n, n}).to(settings.device).to(activation_dtype()); };
  const Tensor a = factor(), b = factor();
  Tensor c = Tensor::like(a);
  const auto multiply = [&] {
    for (int i = 0; i < calls; ++i) kernel::matmul(a, b, c, false, false, false);
    memory(settings.device).synchronize();
  };
  double seconds = std::numeric_limits<double>::infinity();  // the fastest, so that a busy moment cannot lower the peak
  for (int i = 0; i < std::max(settings.rounds, 15); ++i)
    seconds = std::min(seconds, median_seconds(multiply, 1, i == 0));
  return 2.0 * static_cast<double>(n * n * n) * calls / seconds;
}

void kernel_rows(const Settings& settings, const Report& report) {
  std::vector<KernelCase> cases;
  add_convolutions(cases);
  add_linear(cases);
  add_attention(cases);
  add_memory_bound(cases);
  for (const KernelCase& c : cases) {
    if (!settings.wants(c.name)) continue;
    Row row{.name = c.name, .operations = c.operations, .bytes = c.bytes};
    const TensorList got = c.call();
    {
      const ReferenceOnly scope;
      // Sums of up to 65,536 products in another order: sqrt(n) 2^-24 leaves a wide margin below 1e-4.
      row.check(relative_error(got, c.call()), 1e-4);
    }
    row.seconds = median_seconds([&] { c.call(); }, settings.rounds);
    report(row, true);
  }
}

}  // namespace sked::bench
