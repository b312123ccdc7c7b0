#include "data/heteroscedastic_noise.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>

#include "core/rng.h"
#include "core/safetensors.h"
#include "data/catalog.h"
#include "data/other_labels.h"
#include "data/relabeled.h"
#include "tests/common/files.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::counted_labels;
using test::error_of;
using test::one_line_with;

constexpr const char* kFixture = "tests/fixtures/known_covariance.safetensors";  // of seed 5 and 4 classes

Tensor random_vectors(int64_t count, int64_t width) {
  Tensor x = Tensor::empty({count, width});
  Rng rng({42, 2, 0});
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = rng.normal();
  return x;
}

HeteroscedasticNoise of_fixture(const Tensor& examples) { return {examples, counted_labels(7, 4), 4, 0.3, 5}; }

TEST_CASE("heteroscedastic noise: v(x) of vectors and of images, up to its scale, as NumPy has it") {
  const TensorFile file = load_safetensors(kFixture);
  for (const std::string name : {"vectors", "images"}) {
    CAPTURE(name);
    const std::vector<double> unit = file.at(name + ".unit").to_vector<double>();
    const std::vector<double> v = of_fixture(file.at(name)).scales(file.at(name)).to_vector<double>();
    REQUIRE(v.size() == unit.size());
    const double a = v[0] / unit[0];
    CHECK(a > 0);
    for (size_t i = 0; i < v.size(); ++i) CHECK(std::abs(v[i] - a * unit[i]) < 2e-5 * a);  // f32 normals, statistics
  }
  const std::vector<double> got = image_statistics(file.at("images")).to_vector<double>();
  const std::vector<double> want = file.at("statistics").to_vector<double>();
  for (size_t i = 0; i < want.size(); ++i) CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-6));
}

TEST_CASE("heteroscedastic noise: p(y | x) and the covariance of given v(x), as NumPy has them") {
  const TensorFile file = load_safetensors(kFixture);
  const HeteroscedasticNoise noise = of_fixture(file.at("vectors"));
  const Tensor& v = file.at("v");
  const std::vector<double> p = noise.distributions(v, file.at("labels")).to_vector<double>();
  const std::vector<double> want = file.at("p").to_vector<double>();
  for (size_t i = 0; i < p.size(); ++i)  // five standard errors of 2,048 draws at most, and of the fixture's million
    CHECK(std::abs(p[i] - want[i]) < 5 * std::sqrt(want[i] * (1 - want[i]) * (1 / 2048.0 + 1e-6)) + 1e-6);
  for (size_t i = 0; i < p.size(); i += 4)
    CHECK(p[i] + p[i + 1] + p[i + 2] + p[i + 3] == doctest::Approx(1).epsilon(1e-6));
  for (int64_t i = 0; i < 4; ++i) {
    const std::vector<double> sigma = noise.covariance(v.rows(i, i + 1).reshape({4})).to_vector<double>();
    const std::vector<double> known = file.at("covariance").rows(i, i + 1).to_vector<double>();
    for (size_t j = 0; j < 16; ++j) CHECK(std::abs(sigma[j] - known[j]) < 1e-5 * std::max(1.0, std::abs(known[j])));
  }
}

TEST_CASE("heteroscedastic noise: labels are drawn from p(y | x), and as often change as the rate says") {
  const int64_t count = 4000, classes = 5, draws = 20000;
  const Tensor x = random_vectors(count, 8), y = counted_labels(count, classes);
  const HeteroscedasticNoise noise(x, y, classes, 0.35, 3);
  const Tensor drawn = noise.draw_labels(noise.scales(x), y, 0);
  double changed = 0;
  for (int64_t i = 0; i < count; ++i) changed += drawn.data<int64_t>()[i] != y.data<int64_t>()[i];
  // five standard errors of 4,000 labels and of the 2,000 examples that a was found on, whose own rates differ by 0.25
  CHECK(std::abs(changed / count - 0.35) < 5 * std::sqrt(0.35 * 0.65 / 4000 + 0.25 * 0.25 / 2000));

  // Many draws of one example: rows of the same v and label.
  for (const int64_t i : {0, 1, 2}) {
    Tensor v = Tensor::empty({draws, classes}), label = Tensor::full({draws}, static_cast<double>(i), DType::i64);
    const Tensor own = noise.scales(x.rows(i, i + 1));
    for (int64_t n = 0; n < draws; ++n) v.rows(n, n + 1).copy_from(own);
    const Tensor labels = noise.draw_labels(v, label, 1);
    const std::vector<double> p = noise.distributions(own, label.rows(0, 1)).to_vector<double>();
    std::vector<double> share(classes, 0.0);
    for (int64_t n = 0; n < draws; ++n) share[static_cast<size_t>(labels.data<int64_t>()[n])] += 1.0 / draws;
    for (size_t k = 0; k < share.size(); ++k)
      CHECK(std::abs(share[k] - p[k]) < 5 * std::sqrt(p[k] * (1 - p[k]) * (1.0 / draws + 1 / 2048.0)) + 1e-3);
  }
}

TEST_CASE("heteroscedastic noise: the same for any number of threads, and per example for any number of them") {
  const Tensor x = random_vectors(300, 6), y = counted_labels(300, 4);
  const int threads = omp_get_max_threads();
  std::vector<std::vector<float>> distributions;
  std::vector<std::vector<int64_t>> labels;
  for (const int n : {1, 3}) {
    omp_set_num_threads(n);
    const HeteroscedasticNoise noise(x, y, 4, 0.3, 3);
    const Tensor v = noise.scales(x);
    distributions.push_back(noise.distributions(v, y).to_vector<float>());
    labels.push_back(noise.draw_labels(v, y, 0).to_vector<int64_t>());
  }
  omp_set_num_threads(threads);
  CHECK(distributions[0] == distributions[1]);
  CHECK(labels[0] == labels[1]);
  const HeteroscedasticNoise noise(x, y, 4, 0.3, 3);
  const std::vector<int64_t> few = noise.draw_labels(noise.scales(x.rows(0, 9)), y.rows(0, 9), 0).to_vector<int64_t>();
  CHECK(std::equal(few.begin(), few.end(), labels[0].begin()));
  CHECK(noise.draw_labels(noise.scales(x), y, 2).to_vector<int64_t>() != labels[0]);
  const HeteroscedasticNoise other(x, y, 4, 0.3, 4);
  CHECK(other.draw_labels(other.scales(x), y, 0).to_vector<int64_t>() != labels[0]);
}

TEST_CASE("heteroscedastic noise: what cannot be is an error") {
  const Tensor x = random_vectors(20, 3), y = counted_labels(20, 3);
  const auto refusal = [&](const Tensor& examples, int64_t classes, double rate) {
    return error_of([&] { HeteroscedasticNoise(examples, y, classes, rate, 0); });
  };
  CHECK(one_line_with(refusal(x, 3, 0.999), "data.noise_rate: expected 0.0", "3 classes, got 0.999"));
  CHECK(one_line_with(refusal(x, 3, 0.0), "data.noise_rate", "got 0"));
  CHECK(one_line_with(refusal(x, 1001, 0.3), "expected 2 to 1000 classes, got 1001"));
  CHECK(one_line_with(refusal(x, 2, 0.3), "label 2 is 2"));
  CHECK(one_line_with(refusal(x.rows(0, 19), 3, 0.3), "expected examples (20, ...)"));
  CHECK(one_line_with(refusal(Tensor::zeros({20, 3}), 3, 0.3), "data.noise_rate"));  // vectors that do not differ
  CHECK(one_line_with(error_of([&] { image_statistics(x); }), "(N, H, W, C)"));
  const HeteroscedasticNoise noise(x, y, 3, 0.3, 0);
  CHECK(one_line_with(error_of([&] { noise.scales(Tensor::zeros({2, 4})); }), "(N, 3)"));
}

TEST_CASE("heteroscedastic noise: data sets know their covariances, through views of them") {
  const auto base = test::counted_dataset(6, 4, 3, 3);
  CHECK_FALSE(base->has_covariances());
  CHECK(one_line_with(error_of([&] { base->covariance(0); }), "no known covariances"));
  const auto known = with_covariances(base, [](int64_t i) {
    return Tensor::from<float>({float(i), 1, 2, 1, 3, 4, 2, 4, 5}, {3, 3});
  });
  CHECK(known->has_covariances());
  CHECK_THROWS_AS(known->covariance(6), Error);
  const Subset some(known, {4, 2});
  CHECK(some.covariance(0).to_vector<float>()[0] == 4);
  const auto other = with_classes(known, {"class 2", "class 0", "class 1"}, "a test");
  CHECK(other->covariance(5).to_vector<float>() == std::vector<float>{5, 2, 4, 2, 5, 1, 4, 1, 3});
  const auto more = with_classes(known, {"class 2", "class 0", "class 1", "class 3"}, "a test");
  CHECK_FALSE(more->has_covariances());
}

TEST_CASE("heteroscedastic noise: the real Fashion-MNIST, whatever is held out") {
  const auto root = test::data_root_with("fashion-mnist/train-images-idx3-ubyte.gz");
  if (!root) return;
  const DataSpec spec{.noise = LabelNoise::heteroscedastic, .noise_rate = 0.4, .root = *root};
  if (error_of([&] { load_splits(spec, 0); }).find("built without zlib") != std::string::npos)
    return test::skip("built without zlib: the files are gzipped");
  const Splits splits = load_splits(spec, 5000, 2000), all = load_splits(spec, 0);
  CHECK(std::abs(splits.noisy_share - 0.4) < 5 * std::sqrt(0.4 * 0.6 / 60000 + 0.25 * 0.25 / 2000));
  CHECK(splits.noisy_share == all.noisy_share);
  CHECK(splits.test->has_covariances());
  CHECK_FALSE(splits.train->has_covariances());
  const auto& subset = dynamic_cast<const DatasetView&>(*splits.train);
  for (int64_t i = 0; i < subset.size(); i += 100) CHECK(subset.label(i) == all.train->label(subset.base_index(i)));
}

}  // namespace
}  // namespace sked
