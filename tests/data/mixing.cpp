// mixup and CutMix against torchvision, and the distribution of λ.
#include "data/mixing.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/data/images.h"

namespace sked {
namespace {

Tensor one_hot() {
  const auto labels = test::image_fixtures().at("mix/labels").to_vector<int64_t>();
  Tensor targets = Tensor::zeros({4, 3});
  for (size_t b = 0; b < 4; ++b) targets.data<float>()[3 * b + static_cast<size_t>(labels[b])] = 1;
  return targets;
}

/// The largest difference from a fixture.
double error(const Tensor& got, const std::string& name) {
  const Tensor& expected = test::image_fixtures().at("mix/" + name);
  REQUIRE(got.shape() == expected.shape());
  double largest = 0;
  for (int64_t i = 0; i < got.numel(); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(got.data<float>()[i] - expected.data<float>()[i])));
  return largest;
}

TEST_CASE("mixup: images and targets as torchvision mixes them") {
  Tensor images = test::image_fixtures().at("mix/images").clone(), targets = one_hot();
  mixup(images, 0.3);
  mixup(targets, 0.3);
  CHECK(error(images, "mixup/images") < 2e-5);  // values up to 103, one rounding each: 2^-17
  CHECK(error(targets, "mixup/targets") < 1e-7);
}

TEST_CASE("cutmix: windows and targets as torchvision's, at the edge too") {
  struct Case {
    std::string name;
    double lambda;
    int64_t x, y;
  };
  for (const auto& [name, lambda, x, y] : {Case{"cutmix", 0.7, 7, 4}, Case{"edge", 0.2, 1, 5}}) {
    CAPTURE(name);
    Tensor images = test::image_fixtures().at("mix/images").clone(), targets = one_hot();
    const Crop w =
        cutmix_window({6, 10, 3}, lambda, (static_cast<double>(y) + 0.5) / 6, (static_cast<double>(x) + 0.5) / 10);
    cutmix(images, w);
    mixup(targets, 1 - static_cast<double>(w.height * w.width) / 60);
    CHECK(error(images, name + "/images") == 0);
    CHECK(error(targets, name + "/targets") < 1e-7);
  }
}

TEST_CASE("beta: mean and variance of Beta(α, α)") {
  constexpr int kDraws = 20000;
  for (const double alpha : {0.2, 1.0, 3.0}) {
    CAPTURE(alpha);
    Rng rng({1, 2, static_cast<uint64_t>(alpha * 10)});
    double sum = 0, squares = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double x = beta(alpha, rng);
      REQUIRE(x >= 0);
      REQUIRE(x <= 1);
      sum += x, squares += (x - 0.5) * (x - 0.5);
    }
    const double variance = 1 / (4 * (2 * alpha + 1));
    CHECK(std::abs(sum / kDraws - 0.5) < 5 * std::sqrt(variance / kDraws));
    CHECK(std::abs(squares / kDraws / variance - 1) < 0.05);  // over five standard errors for each of these
  }
}

TEST_CASE("mix: an empty batch, a batch of one, and nothing to do") {
  for (const auto kind : {Mixing::Kind::none, Mixing::Kind::mixup, Mixing::Kind::cutmix}) {
    Rng rng({1, 1, 1});
    Tensor images = Tensor::full({1, 3, 3, 1}, 2.0), targets = Tensor::full({1, 2}, 1.0),
           none = Tensor::zeros({0, 3, 3, 1}), nothing = Tensor::zeros({0, 2});
    mix({kind, 0.4}, images, targets, rng);
    mix({kind, 0.4}, none, nothing, rng);
    for (const float v : images.to_vector<float>()) CHECK(v == doctest::Approx(2.0));
    for (const float v : targets.to_vector<float>()) CHECK(v == doctest::Approx(1.0));
  }
}

}  // namespace
}  // namespace sked
