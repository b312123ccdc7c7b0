// What evaluate does with representations and foreign images.

#include <doctest/doctest.h>

#include "apps/evaluate/few_shot.h"
#include "apps/evaluate/fitted.h"
#include "core/error.h"
#include "core/rng.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

Tensor random_f64(const Shape& shape, uint64_t stream) {
  Tensor t = Tensor::empty(shape, DType::f64);
  Rng rng({3, stream, 0});
  for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = rng.normal();
  return t;
}

std::shared_ptr<ImageDataset> one_image(const std::vector<uint8_t>& bytes, int64_t side, int64_t channels) {
  return std::make_shared<ImageDataset>("one", std::vector<std::string>{"a"},
                                        Tensor::from(bytes, {1, side, side, channels}),
                                        Tensor::from(std::vector<int64_t>{0}, {1}));
}

}  // namespace

TEST_CASE("few-shot: ridge satisfies its normal equations") {
  const int64_t n = 7, d = 4, k = 3;
  const double lambda = 0.3;
  const Tensor x = random_f64({n, d}, 1), y = random_f64({n, k}, 2), w = ridge(x, y, lambda);
  const auto at = [](const Tensor& t, int64_t i, int64_t j) { return t.data<double>()[i * t.dim(1) + j]; };
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t c = 0; c < k; ++c) {  // Xᵀ(XW − Y) + λW = 0
      double gradient = lambda * at(w, i, c);
      for (int64_t r = 0; r < n; ++r) {
        double residual = -at(y, r, c);
        for (int64_t j = 0; j < d; ++j) residual += at(x, r, j) * at(w, j, c);
        gradient += at(x, r, i) * residual;
      }
      CHECK(std::abs(gradient) < 1e-12);  // a 4×4 system of condition below 100, in double
    }
  }
  CHECK(one_line_with(error_of([&] { ridge(x, random_f64({n + 1, k}, 3), lambda); }), "(7, 4)", "(8, 3)"));
  CHECK(one_line_with(error_of([&] {
                        ridge(Tensor::zeros({2, 2}, DType::f64), random_f64({2, 1}, 4), 0);
                      }),
                      "positive definite"));
}

TEST_CASE("few-shot: separated classes are told apart, and the first examples are taken") {
  const Tensor phi = Tensor::from(std::vector<float>{0, 10, 10, 0, 0.1f, 10.2f, 9.8f, 0.1f}, {4, 2});
  const Tensor labels = Tensor::from(std::vector<int64_t>{0, 1, 0, 1}, {4});
  CHECK(few_shot_accuracy(phi, labels, phi, labels, 2, 1e-3) == 1);
  const Tensor swapped = Tensor::from(std::vector<int64_t>{1, 0, 1, 0}, {4});
  CHECK(few_shot_accuracy(phi, labels, phi, swapped, 2, 1e-3) == 0);
  CHECK(first_of_each_class({1, 1, 0, 1, 0}, 2, 2) == std::vector<int64_t>{0, 1, 2, 4});
  CHECK(one_line_with(error_of([] { first_of_each_class({1, 1, 0}, 2, 2); }), "2 images of class 0, got 1"));
}

TEST_CASE("fitted: colours become grey, grey is repeated, sizes are cropped or padded around the centre") {
  const auto colour = one_image({10, 20, 30}, 1, 3);
  const Tensor grey = fitted(colour, {1, 1, 1})->image(0);
  CHECK(grey.to_vector<uint8_t>() == std::vector<uint8_t>{18});  // 2.99 + 11.74 + 3.42 = 18.15
  const Tensor padded = fitted(one_image({7}, 1, 1), {3, 3, 3})->image(0);
  std::vector<uint8_t> expected(27, 0);
  expected[12] = expected[13] = expected[14] = 7;
  CHECK(padded.to_vector<uint8_t>() == expected);
  const auto large = one_image({1, 2, 3, 4, 5, 6, 7, 8, 9}, 3, 1);
  CHECK(fitted(large, {1, 1, 1})->image(0).to_vector<uint8_t>() == std::vector<uint8_t>{5});
  CHECK(fitted(large, {2, 2, 1})->image(0).to_vector<uint8_t>() == std::vector<uint8_t>{1, 2, 4, 5});
  CHECK(fitted(large, {3, 3, 1}) == large);
  CHECK(one_line_with(error_of([&] { fitted(large, {3, 3, 2}); }), "(3, 3, 2)", "(3, 3, 1)"));
}
