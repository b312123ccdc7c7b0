#include "data/label_noise.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/rng.h"
#include "tests/common/files.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::counted_labels;
using test::error_of;
using test::one_line_with;

/// Images of noise: no two alike, none near the mean.
Tensor random_images(int64_t count) {
  Tensor images = Tensor::empty({count, 6, 6, 1}, DType::u8);
  Rng rng({42, 1, 0});
  for (int64_t i = 0; i < images.numel(); ++i) images.data<uint8_t>()[i] = static_cast<uint8_t>(rng.next_u32());
  return images;
}

void check_rows_sum_to_one(const Tensor& p) {
  const auto values = p.to_vector<double>();
  const auto classes = static_cast<size_t>(p.dim(1));
  for (size_t i = 0; i < values.size(); i += classes) {
    // each of the K entries is rounded to f32 once
    CHECK(std::accumulate(&values[i], &values[i] + classes, 0.0) == doctest::Approx(1.0).epsilon(1e-6));
    CHECK(*std::min_element(&values[i], &values[i] + classes) >= 0.0);
  }
}

TEST_CASE("symmetric and pair noise have the distribution they promise") {
  const Tensor y = Tensor::from<int64_t>({2, 0}, {2});
  CHECK(symmetric_noise(y, 3, 0.5).to_vector<float>() == std::vector{0.25f, 0.25f, 0.5f, 0.5f, 0.25f, 0.25f});
  CHECK(pair_noise(y, 3, 0.25).to_vector<float>() == std::vector{0.25f, 0.0f, 0.75f, 0.75f, 0.25f, 0.0f});
  CHECK(pair_noise(y, 3, 0.0).to_vector<float>() == std::vector{0.0f, 0.0f, 1.0f, 1.0f, 0.0f, 0.0f});
  CHECK(symmetric_noise(y, 3, 1.0).to_vector<float>() == std::vector{0.5f, 0.5f, 0.0f, 0.0f, 0.5f, 0.5f});
}

TEST_CASE("labels are drawn from their rows") {
  const int64_t count = 20000;
  const Tensor y = Tensor::zeros({count}, DType::i64);
  Tensor p = Tensor::empty({count, 3});
  for (int64_t i = 0; i < count; ++i) {
    p.data<float>()[3 * i] = 0.2f;
    p.data<float>()[3 * i + 1] = 0.0f;
    p.data<float>()[3 * i + 2] = 0.8f;
  }
  const auto drawn = sample_labels(p, 7, 0).to_vector<int64_t>();
  CHECK(std::ranges::count(drawn, 1) == 0);
  // five standard deviations of a binomial share: 5 sqrt(0.2 · 0.8 / 20000)
  CHECK(std::abs(static_cast<double>(std::ranges::count(drawn, 0)) / 20000.0 - 0.2) < 0.0142);
  CHECK(sample_labels(p, 7, 0).to_vector<int64_t>() == drawn);
  CHECK(sample_labels(p, 8, 0).to_vector<int64_t>() != drawn);
  CHECK(sample_labels(p, 7, 1).to_vector<int64_t>() != drawn);
  // an example's label does not depend on how many there are
  const auto first = sample_labels(p.rows(0, 100), 7, 0).to_vector<int64_t>();
  CHECK(std::equal(first.begin(), first.end(), drawn.begin()));
  CHECK(sample_labels(Tensor::from<float>({1, 0, 0, 1}, {2, 2}), 3, 0).to_vector<int64_t>() ==
        std::vector<int64_t>{0, 1});
}

TEST_CASE("instance noise: rows are distributions whose flip rates follow the truncated normal") {
  const int64_t count = 4000, classes = 5;
  const Tensor images = random_images(count), y = counted_labels(count, classes);
  const Tensor p = instance_noise(images, y, mean_image(images), classes, {.rate = 0.4, .seed = 3});
  check_rows_sum_to_one(p);
  double sum = 0.0, squares = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const double q = 1.0 - static_cast<double>(p.data<float>()[i * classes + y.data<int64_t>()[i]]);
    CHECK(q >= 0.0);
    CHECK(q <= 1.0);
    sum += q;
    squares += q * q;
  }
  const double mean = sum / static_cast<double>(count);
  // truncation at four deviations is not to be seen; five standard errors of a mean and of a deviation
  CHECK(std::abs(mean - 0.4) < 5 * 0.1 / std::sqrt(4000.0));
  CHECK(std::abs(std::sqrt(squares / static_cast<double>(count) - mean * mean) - 0.1) < 5 * 0.1 / std::sqrt(8000.0));
}

TEST_CASE("instance noise: the image decides where labels flip to, and not all to one class") {
  const int64_t count = 3000, classes = 10;
  const Tensor images = random_images(count), y = Tensor::zeros({count}, DType::i64);
  const Tensor p = instance_noise(images, y, mean_image(images), classes, {});
  std::vector<int64_t> favorites(classes, 0);
  double share = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const float* row = p.data<float>() + i * classes;
    const auto best = std::max_element(row + 1, row + classes) - row;
    ++favorites[static_cast<size_t>(best)];
    share += static_cast<double>(row[best] / (1.0f - row[0]));
  }
  // the header says about three quarters; a one-hot softmax would give 1, symmetric noise 0.11
  CHECK(share / count > 0.7);
  CHECK(share / count < 0.8);
  CHECK(favorites[0] == 0);
  // of 9 classes none takes half of the images: a noise that ignored the image would give all to one
  CHECK(*std::ranges::max_element(favorites) < count / 2);
}

TEST_CASE("instance noise: sharpness 0 and an image equal to the mean give symmetric noise") {
  const Tensor images = random_images(8), y = counted_labels(8, 4);
  for (const bool flat : {false, true}) {
    const Tensor mean = flat ? images.rows(0, 1).reshape({36}).to(DType::f32) : mean_image(images);
    const Tensor p = instance_noise(images, y, mean, 4, {.rate = 0.3, .sharpness = flat ? 4.0 : 0.0});
    CHECK(p.data<float>()[1] == doctest::Approx(p.data<float>()[2]));
    CHECK(p.data<float>()[1] == doctest::Approx((1.0f - p.data<float>()[0]) / 3.0f));
  }
}

TEST_CASE("instance noise: contrast does not matter, direction does") {
  // x, 2x and -x around a mean of 100: the first two share their softmax, the third has the opposite scores
  const Tensor images = Tensor::from<uint8_t>({110, 90, 120, 80, 90, 110}, {3, 2, 1, 1});
  const Tensor mean = Tensor::full({2}, 100.0), y = Tensor::zeros({3}, DType::i64);
  const auto p = instance_noise(images, y, mean, 3, {.rate = 0.5}).to_vector<double>();
  const double a = p[1] / p[2], b = p[4] / p[5], c = p[7] / p[8];
  CHECK(a == doctest::Approx(b).epsilon(1e-5));  // f32 shares
  CHECK(a * c == doctest::Approx(1.0).epsilon(1e-5));
  CHECK(a != doctest::Approx(1.0).epsilon(1e-2));
}

TEST_CASE("instance noise: test images share the projections, not the flip rates, of the training images") {
  const Tensor images = random_images(6), y = Tensor::zeros({6}, DType::i64), mean = mean_image(images);
  const auto train = instance_noise(images, y, mean, 3, {.split = 0}).to_vector<double>();
  const auto test = instance_noise(images, y, mean, 3, {.split = 1}).to_vector<double>();
  for (size_t i = 0; i < train.size(); i += 3) {
    CHECK(train[i] != test[i]);
    CHECK(train[i + 1] / train[i + 2] == doctest::Approx(test[i + 1] / test[i + 2]).epsilon(1e-5));  // f32 shares
  }
}

TEST_CASE("noise does not depend on the number of threads") {
  const Tensor images = random_images(200), y = counted_labels(200, 7), mean = mean_image(images);
  const int threads = omp_get_max_threads();
  std::vector<std::vector<float>> results;
  for (const int n : {1, 3}) {
    omp_set_num_threads(n);
    results.push_back(instance_noise(images, y, mean, 7, {.rate = 0.2}).to_vector<float>());
  }
  omp_set_num_threads(threads);
  CHECK(results[0] == results[1]);
}

TEST_CASE("noise: extreme rates stay distributions") {
  const Tensor images = random_images(50), y = counted_labels(50, 3), mean = mean_image(images);
  for (const double rate : {0.0, 1.0}) check_rows_sum_to_one(instance_noise(images, y, mean, 3, {.rate = rate}));
}

TEST_CASE("noise: what cannot be is an error") {
  const Tensor images = random_images(4), y = counted_labels(4, 3), mean = mean_image(images);
  CHECK(one_line_with(error_of([&] { symmetric_noise(y, 3, 1.5); }), "[0, 1]", "1.5"));
  CHECK(one_line_with(error_of([&] { pair_noise(y, 3, -0.1); }), "-0.1"));
  CHECK(one_line_with(error_of([&] { pair_noise(y, 3, NAN); }), "nan"));
  CHECK(one_line_with(error_of([&] { symmetric_noise(y, 1, 0.5); }), "at least 2 classes"));
  CHECK(one_line_with(error_of([&] { symmetric_noise(y, 2, 0.5); }), "label 2 is 2"));
  CHECK(one_line_with(error_of([&] { instance_noise(images.rows(0, 3), y, mean, 3, {}); }), "(4, H, W, C)"));
  CHECK(one_line_with(error_of([&] { instance_noise(images, y, mean.rows(0, 35), 3, {}); }), "mean", "(36)"));
  CHECK(one_line_with(error_of([&] { instance_noise(images, y, mean, 3, {.sharpness = -1}); }), "sharpness"));
  CHECK(one_line_with(error_of([&] { mean_image(images.rows(0, 0)); }), "N > 0"));
  CHECK(one_line_with(error_of([] { sample_labels(Tensor::zeros({3}), 0, 0); }), "(N, K)"));
}

TEST_CASE("mean_image is exact") {
  const Tensor images = Tensor::from<uint8_t>({0, 255, 1, 255, 0, 255}, {3, 1, 2, 1});
  CHECK(mean_image(images).to_vector<float>() == std::vector{1.0f / 3.0f, 255.0f});
}

}  // namespace
}  // namespace sked
