// What a training step asks of a GPU: launches, and the bytes of kernels' operands. Both are counted while the step is
// recorded, so that nothing of it is carried out: the real sizes cost no time, and a GPU that is emulated
// (CUDA=host) counts as one does.

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <utility>

#include "autograd/attention.h"
#include "autograd/matmul.h"
#include "autograd/optimizer.h"
#include "autograd/reduce.h"
#include "core/precision.h"
#include "core/recording.h"
#include "core/work_count.h"
#include "layers/classifier.h"
#include "layers/heads/make_head.h"
#include "layers/heads/streaming.h"
#include "layers/models/model.h"
#include "tests/common/gpu.h"
#include "tests/common/in_bf16.h"

namespace sked::test {
namespace {

Var leaf(const Shape& shape) { return Var(Tensor::empty(shape, DType::f32, Device::cuda), true); }

void print(const char* what, const WorkCount& count) {
  std::printf("%s\n", what);
  for (const auto& [kernel, entry] : count.entries())
    std::printf("  %-28s %6lld launches %12.3f GB\n", kernel.c_str(), static_cast<long long>(entry.launches),
                1e-9 * static_cast<double>(entry.bytes));
}

/// The part of the time that the likelihood's products take on an H100, on paper: 790 TFLOP/s of products, 3 TB/s of
/// operands, of which none is read or written beside a product, and a microsecond a launch.
double share_of_products(const WorkCount& count, double operations) {
  double bytes = static_cast<double>(count.total().bytes);
  bytes += static_cast<double>(count.entries().at("label_tile_backward").bytes);  // reads a tile and writes it again
  const double products = operations / 790e12;
  return products / (products + bytes / 3e12 + 1e-6 * static_cast<double>(count.total().launches));
}

/// A product and attention, both ways: what their libraries do when they are first called cannot be recorded.
void start_libraries() {
  const auto ones = [](const Shape& shape, DType dtype) {
    return Var(Tensor::full(shape, 1, dtype, Device::cuda), true);
  };
  sum(linear(ones({16, 32}, DType::bf16), ones({64, 32}, DType::f32))).backward();
  sum(attention(ones({1, 16, 3 * 128}, DType::bf16), 2)).backward();
}

}  // namespace

TEST_CASE("launches: the streaming likelihood of JFT-4B's classes, forward and backward") {
  if (no_gpu("launches of the likelihood")) return;
  const InBf16 on;
  start_libraries();
  const int64_t S = 1000, K = 29593, D = 1024, R = 8;
  for (const auto& [B, most] : {std::pair{int64_t{64}, 300}, {int64_t{4096}, 12000}}) {
    SampledLogits a;
    a.center = leaf({B, D});
    a.scales = {leaf({B, D}), leaf({B, D}), leaf({D, R})};
    a.weight = leaf({K, D}), a.bias = leaf({K});
    a.samples = S;
    a.noise.examples = Tensor::empty({B}, DType::i64, Device::cuda);
    const Tensor labels = Tensor::empty({B}, DType::i64, Device::cuda);
    const WorkCount count;
    (void)record_work(Device::cuda, 0, [&] { mean(streaming_nll(a, labels)).backward(); });
    const double share = share_of_products(count, 8.0 * static_cast<double>(B * S) * static_cast<double>(D * K));
    print(("likelihood, B = " + std::to_string(B)).c_str(), count);
    std::printf("  %lld launches, %.0f %% of the rate of products on paper\n",
                static_cast<long long>(count.total().launches), 100 * share);
    CHECK(count.total().launches <= most);
    CHECK(share >= 0.5);
  }
}

TEST_CASE("launches: a training step of ViT-S/16 in bf16") {
  if (no_gpu("launches of ViT-S/16")) return;
  const InBf16 on;
  start_libraries();
  const int64_t N = 2, edge = 224, classes = 1000;  // as many launches as up to 13 images, from where on cuDNN saves 24
  Init init(7, Device::cuda);
  ModelConfig config;
  config.name = "vit-s";
  auto backbone = make_backbone(config, {edge, edge, 3}, init);
  const int64_t width = backbone->width();
  Classifier model(std::move(backbone), make_head({}, width, classes, init));
  Optimizer optimizer({}, model.parameters());
  const Var images(Tensor::empty({N, edge, edge, 3}, DType::f32, Device::cuda));
  const Tensor labels = Tensor::empty({N}, DType::i64, Device::cuda), examples = labels.clone();
  const Context context{
      .training = true, .seed = 1, .examples = examples, .activations = activation_dtype(Device::cuda)};
  // A plain step comes first, and leaves the weights' rounded copies and gradients.
  for (NamedVar& p : model.parameters()) {
    (void)p.var.value().read_as(DType::bf16);
    p.var.mutable_grad() = Tensor::zeros_like(p.var.value());
  }
  const WorkCount count;
  optimizer.step(0.01);
  for (NamedVar& p : model.parameters()) p.var.clear_grad();
  (void)record_work(Device::cuda, 0, [&] {
    model.head().loss(model.backbone().forward(images, context), {labels, {}}, context).backward();
  });
  print("ViT-S/16", count);
  std::printf("  %lld launches\n", static_cast<long long>(count.total().launches));
  CHECK(count.total().launches <= 480);
}

}  // namespace sked::test
