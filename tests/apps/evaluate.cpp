// What evaluate does with representations and foreign images.

#include <doctest/doctest.h>

#include "apps/common/fitted.h"
#include "apps/evaluate/few_shot.h"
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

TEST_CASE("few-shot: λ is what held-out folds say, the larger of equals") {
  // One feature tells the classes, 11 others are noise: too little regularisation fits the noise.
  Tensor phi = Tensor::empty({20, 12}), labels = Tensor::empty({20}, DType::i64);
  const Tensor noise = random_f64({20, 12}, 5);
  for (int64_t i = 0; i < 20; ++i) {
    labels.data<int64_t>()[i] = i % 2;
    for (int64_t j = 0; j < 12; ++j)
      phi.data<float>()[i * 12 + j] = static_cast<float>(noise.data<double>()[i * 12 + j]);
    phi.data<float>()[i * 12] = static_cast<float>(i % 2) * 4;
  }
  const std::vector<double> candidates{1e-9, 1.0, 100.0};
  const double chosen = choose_lambda(phi, labels, 2, 10, candidates);
  // by brute force: 5 folds of 4
  std::vector<double> right;
  for (const double lambda : candidates) {
    double sum = 0;
    for (int64_t fold = 0; fold < 5; ++fold) {
      Tensor x = Tensor::empty({16, 12}), y = Tensor::empty({16}, DType::i64), t = Tensor::empty({4, 12}),
             u = Tensor::empty({4}, DType::i64);
      int64_t kept = 0, held = 0;
      for (int64_t i = 0; i < 20; ++i) {
        const bool out = (i / 2) % 5 == fold;
        (out ? t : x).rows(out ? held : kept, (out ? held : kept) + 1).copy_from(phi.rows(i, i + 1));
        (out ? u : y).data<int64_t>()[out ? held++ : kept++] = i % 2;
      }
      sum += few_shot_accuracy(x, y, t, u, 2, lambda);
    }
    right.push_back(sum);
  }
  double expected = candidates[0], best = right[0];
  for (size_t c = 1; c < 3; ++c)
    if (right[c] >= best - 1e-9) best = right[c], expected = candidates[c];
  CHECK(chosen == expected);
  CHECK(choose_lambda(phi.rows(0, 2), labels.rows(0, 2), 2, 1, candidates) == 1);
}

TEST_CASE("few-shot: the scale and place of a feature do not matter") {
  const Tensor phi = random_f64({12, 3}, 7).to(DType::f32), test = random_f64({9, 3}, 8).to(DType::f32);
  Tensor labels = Tensor::empty({12}, DType::i64), expected = Tensor::empty({9}, DType::i64);
  for (int64_t i = 0; i < 12; ++i) labels.data<int64_t>()[i] = phi.data<float>()[3 * i] > 0;
  for (int64_t i = 0; i < 9; ++i) expected.data<int64_t>()[i] = test.data<float>()[3 * i] > 0;
  const auto moved = [](const Tensor& t) {
    Tensor m = t.clone();
    for (int64_t i = 0; i < m.numel(); ++i)
      m.data<float>()[i] = i % 3 == 0 ? 1024 * m.data<float>()[i] + 512 : m.data<float>()[i];
    return m;
  };
  CHECK(few_shot_accuracy(phi, labels, test, expected, 2, 1) ==
        few_shot_accuracy(moved(phi), labels, moved(test), expected, 2, 1));
}

TEST_CASE("fitted: colours become grey, grey is repeated, the shorter side fits, the rest is cut around the centre") {
  const auto colour = one_image({10, 20, 30}, 1, 3);
  const Tensor grey = fitted(colour, {1, 1, 1})->image(0);
  CHECK(grey.to_vector<uint8_t>() == std::vector<uint8_t>{18});  // 2.99 + 11.74 + 3.42 = 18.15
  CHECK(fitted(one_image({7}, 1, 1), {3, 3, 3})->image(0).to_vector<uint8_t>() == std::vector<uint8_t>(27, 7));
  const auto wide = std::make_shared<ImageDataset>("wide", std::vector<std::string>{"a"},
                                                   Tensor::from<uint8_t>({1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, 4, 1}),
                                                   Tensor::from(std::vector<int64_t>{0}, {1}));
  CHECK(fitted(wide, {2, 2, 1})->image(0).to_vector<uint8_t>() == std::vector<uint8_t>{2, 3, 6, 7});
  CHECK(fitted(wide, {0, 0, 3})->image(0).shape() == Shape{2, 4, 3});
  CHECK(fitted(wide, {0, 0, 3})->image_shape() == Shape{2, 4, 3});
  CHECK(fitted(wide, {0, 0, 1}) == wide);
  const auto large = one_image({1, 2, 3, 4, 5, 6, 7, 8, 9}, 3, 1);
  CHECK(fitted(large, {3, 3, 1}) == large);
  CHECK(one_line_with(error_of([&] { fitted(large, {3, 3, 2}); }), "(3, 3, 2)", "(3, 3, 1)"));
}
