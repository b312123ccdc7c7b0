// Images computed each by itself: the same bits whatever stands beside them.

#include <doctest/doctest.h>

#include <numeric>
#include <string>
#include <vector>

#include "apps/common/measure/evaluation.h"
#include "core/error.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"

namespace sked::test {
namespace {

/// Representations and probabilities of the images in that order, on so many threads.
TensorList computed(Classifier& model, const Tensor& images, const std::vector<int64_t>& order, int threads) {
  const Threads many(threads);
  Tensor chosen = Tensor::empty(images.shape().with(0, std::ssize(order)));
  for (int64_t b = 0; b < std::ssize(order); ++b) {
    const int64_t i = order[static_cast<size_t>(b)];
    chosen.rows(b, b + 1).copy_from(images.rows(i, i + 1));
  }
  Context context{.seed = 5, .activations = activation_dtype(Device::cpu)};
  context.examples = Tensor::from(order, {std::ssize(order)});
  return computed_rows(chosen.dim(0), true, [&](int64_t begin, int64_t end) {
    const Context own = context_of(context, begin, end);
    const Tensor phi = model.backbone().forward(Var(chosen.rows(begin, end)), own).value();
    return TensorList{phi, model.head().predict(phi, 3, own)};
  });
}

}  // namespace

TEST_CASE("apart: an image has the same bits at every place, in any company, on any number of threads") {
  constexpr int64_t kImages = 7;
  RunConfig config;
  config.head.kind = HeadKind::het_xl;
  ModelConfig vit{.name = "vit", .patch = 4, .width = 48, .depth = 2, .heads = 3, .mlp = 96};
  ModelConfig resnet{.name = "resnet18", .blocks = {1, 1}, .base_width = 128};  // Winograd's in bf16, too
  ModelConfig deep{.name = "resnet50", .blocks = {1, 1}, .base_width = 16};
  for (const ModelConfig& network : {vit, resnet, deep}) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      CAPTURE(network.name);
      CAPTURE(precision);
      const ProductsIn products(precision);
      config.model = network;
      const auto model = make_classifier(config, {20, 20, 3}, 6, Device::cpu);
      const Tensor images = hash_tensor({kImages, 20, 20, 3}, 4);
      std::vector<int64_t> order(kImages);
      std::iota(order.begin(), order.end(), int64_t{0});
      const TensorList all = computed(*model, images, order, 2);
      const auto check = [&](const std::vector<int64_t>& company, int threads) {
        const TensorList some = computed(*model, images, company, threads);
        for (int64_t b = 0; b < std::ssize(company); ++b) {
          const int64_t i = company[static_cast<size_t>(b)];
          for (size_t t = 0; t < all.size(); ++t) CHECK(same_bits(some[t].rows(b, b + 1), all[t].rows(i, i + 1)));
        }
      };
      for (int64_t i = 0; i < kImages; ++i) check({i}, 1 + static_cast<int>(i % 3));
      check({6, 5, 4, 3, 2, 1, 0}, 3);
      check({2, 2, 0}, 1);
      for (const NamedVar& p : model->parameters()) Tensor(p.var.value()).keep_prepared();
      const TensorList kept = computed(*model, images, order, 2);  // other kernels: close, and again the same bits
      for (size_t t = 0; t < all.size(); ++t)
        check_close("kept", kept[t], all[t], precision == Precision::bf16 ? 3e-2 : 1e-5);
      for (int64_t i = 0; i < kImages; ++i)
        for (size_t t = 0; t < all.size(); ++t)
          CHECK(same_bits(computed(*model, images, {i}, 2)[t], kept[t].rows(i, i + 1)));
    }
  }
}

TEST_CASE("apart: an error of one image is that of the first, and rows come together in their order") {
  const TensorList rows = computed_rows(5, true, [](int64_t begin, int64_t end) {
    return TensorList{Tensor::full({end - begin, 2}, static_cast<double>(begin)), Tensor::full({1}, 7, DType::i64)};
  });
  REQUIRE(rows.size() == 2);
  for (int64_t i = 0; i < 5; ++i) CHECK(rows[0].data<float>()[2 * i + 1] == static_cast<float>(i));
  CHECK(rows[1].to_vector<int64_t>() == std::vector<int64_t>(5, 7));
  const std::string error = error_of(
      [] { computed_rows(5, true, [](int64_t begin, int64_t) -> TensorList { fail("test", "row ", begin); }); });
  CHECK(error.find("row 0") != std::string::npos);
  CHECK(computed_rows(5, false, [](int64_t begin, int64_t end) { return TensorList{Tensor::zeros({end - begin})}; })[0]
            .dim(0) == 5);
}

}  // namespace sked::test
