#include "data/catalog.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/npy.h"
#include "data/loader.h"
#include "tests/common/files.h"
#include "tests/data/archives.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using test::TemporaryFolder;

std::string idx(std::vector<int> extents, const std::string& data) {
  std::string bytes{'\0', '\0', '\x08', static_cast<char>(extents.size())};
  for (const int extent : extents) bytes += {'\0', '\0', static_cast<char>(extent >> 8), static_cast<char>(extent)};
  return bytes + data;
}

/// Fashion-MNIST in small: `train` and `test` images of 2×2 pixels, label i mod 10.
void write_fashion_mnist(const TemporaryFolder& folder, int train, int test) {
  for (const auto& [name, count] : {std::pair("train", train), std::pair("t10k", test)}) {
    std::string pixels, labels;
    for (int i = 0; i < count; ++i) {
      for (int p = 0; p < 4; ++p) pixels += static_cast<char>(i * (p + 3) + 50 * p);
      labels += static_cast<char>(i % 10);
    }
    const std::string prefix = std::string("fashion-mnist/") + name;
    folder.write(prefix + "-images-idx3-ubyte", idx({count, 2, 2}, pixels));
    folder.write(prefix + "-labels-idx1-ubyte", idx({count}, labels));
  }
}

std::vector<int64_t> labels_of(const Dataset& data) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < data.size(); ++i) labels.push_back(data.label(i));
  return labels;
}

TEST_CASE("catalog: training, validation and test of a clean set") {
  const TemporaryFolder folder;
  write_fashion_mnist(folder, 30, 20);
  const Splits splits = load_splits({.root = folder.path()}, 10);
  CHECK(splits.train->size() == 20);
  CHECK(splits.validation->size() == 10);
  CHECK(splits.test->size() == 20);
  CHECK(splits.train->classes() == 10);
  CHECK(splits.train->image_shape() == Shape{2, 2, 1});
  CHECK(splits.train->class_names()[9] == "Ankle boot");
  CHECK(splits.noisy_share == 0.0);
  CHECK_FALSE(splits.test->has_distributions());
  CHECK(splits.notes.empty());
  const Splits few = load_splits({.root = folder.path()}, 0, 5);
  CHECK(few.validation == nullptr);
  CHECK(few.train->size() == 5);
  CHECK(load_splits({.root = folder.path()}, 25, 5).train->size() == 5);
}

/// The first pixel of each image, 3·i of the i-th of the file: which images these are.
std::vector<int> images_of(const Dataset& data) {
  std::vector<int> images;
  for (int64_t i = 0; i < data.size(); ++i) images.push_back(data.image(i).data<uint8_t>()[0] / 3);
  return images;
}

TEST_CASE("catalog: images are held out by a permutation that knows no seed, and keep the files' order") {
  const TemporaryFolder folder;
  write_fashion_mnist(folder, 60, 5);
  const auto loading = [&](int64_t validation, int64_t train = 0) {
    return load_splits({.root = folder.path()}, validation, train);
  };
  const std::vector<int64_t> order = shuffled_order(60, 0, 0);
  std::vector<int> everything(60);
  for (int i = 0; i < 60; ++i) everything[static_cast<size_t>(i)] = i;
  CHECK(images_of(*loading(0).train) == everything);

  const Splits splits = loading(20, 15);
  std::vector<int> held(order.end() - 20, order.end()), kept(order.begin(), order.begin() + 15);
  std::ranges::sort(held);
  std::ranges::sort(kept);
  CHECK(images_of(*splits.validation) == held);
  CHECK(images_of(*splits.train) == kept);
  CHECK(images_of(*loading(33, 15).train) == kept);
  CHECK(images_of(*loading(20).validation) == held);
  std::vector<int> rest;
  std::ranges::set_difference(everything, held, std::back_inserter(rest));
  CHECK(images_of(*loading(20).train) == rest);
}

TEST_CASE("catalog: where files are sorted by class, every class is held out and in a subset") {
  const TemporaryFolder folder;
  std::string sorted;
  for (int i = 0; i < 80; ++i) {
    const std::string key = std::to_string(i / 20) + "/" + std::to_string(i);
    sorted += test::tar_member(key + ".jpg", "x") + test::tar_member(key + ".cls", std::to_string(i / 20));
    folder.write("f/train/" + key + ".jpg", "x");
    folder.write("f/val/" + key + ".jpg", "x");
  }
  std::filesystem::create_directories(folder.path("s"));
  for (const char* name : {"s/train.tar", "s/test.tar"}) folder.write(name, sorted + test::tar_end());
  for (const DataSpec& spec : {DataSpec{.name = "shards", .path = folder.path("s")},
                               DataSpec{.name = "image-folder", .path = folder.path("f")}}) {
    const Splits splits = load_splits(spec, 24, 24);
    for (const auto& part : {splits.validation, splits.train}) {
      const std::vector<int64_t> labels = labels_of(*part);
      CHECK(std::ranges::is_sorted(labels));
      for (int64_t k = 0; k < 4; ++k) CHECK(std::ranges::count(labels, k) >= 2);
    }
    CHECK(std::ranges::is_sorted(labels_of(*load_splits(spec, 0).train)));
  }
}

TEST_CASE("catalog: noise is drawn on training labels; test labels stay clean and know its distribution") {
  const TemporaryFolder folder;
  write_fashion_mnist(folder, 2000, 100);
  const Splits clean = load_splits({.root = folder.path()}, 500);
  for (const LabelNoise noise : {LabelNoise::symmetric, LabelNoise::pair, LabelNoise::instance}) {
    CAPTURE(noise);
    const DataSpec spec{.noise = noise, .noise_rate = 0.3, .noise_seed = 4, .root = folder.path()};
    const Splits splits = load_splits(spec, 500);
    // five standard deviations of a binomial share of 2000
    CHECK(std::abs(splits.noisy_share - 0.3) < 5 * std::sqrt(0.3 * 0.7 / 2000));
    CHECK(labels_of(*splits.train) != labels_of(*clean.train));
    CHECK(labels_of(*splits.validation) != labels_of(*clean.validation));
    CHECK(labels_of(*splits.test) == labels_of(*clean.test));
    CHECK_FALSE(splits.train->has_distributions());
    REQUIRE(splits.test->has_distributions());
    double kept = 0.0;
    for (int64_t i = 0; i < 100; ++i) {
      kept += static_cast<double>(splits.test->distribution(i).data<float>()[splits.test->label(i)]);
    }
    // the mean of 100 flip rates of deviation 0.1, five standard errors
    CHECK(std::abs(kept / 100 - 0.7) < 0.05);

    CHECK(labels_of(*load_splits(spec, 500).train) == labels_of(*splits.train));
    DataSpec other = spec;
    other.noise_seed = 5;
    CHECK(labels_of(*load_splits(other, 500).train) != labels_of(*splits.train));
  }
}

TEST_CASE("catalog: what is not there is said, with what to do about it") {
  const TemporaryFolder folder;
  const auto loading = [&](DataSpec spec, int64_t validation = 0, int64_t train = 0) {
    spec.root = folder.path();
    return error_of([&] { load_splits(spec, validation, train); });
  };
  CHECK(one_line_with(loading({}), "train-images-idx3-ubyte", "make data DATASETS=\"fashion-mnist\""));
  CHECK(one_line_with(loading({.name = "cifar-10"}), "data_batch_1.bin", "make data DATASETS=\"cifar-10\""));
  CHECK(one_line_with(loading({.name = "cifar10"}), "unknown dataset", "did you mean \"cifar-10\"?",
                      "fashion-mnist, cifar-10"));
  CHECK(one_line_with(loading({.labels = "worst"}), "label set of fashion-mnist", "known: clean"));
  CHECK(one_line_with(loading({.name = "cifar-10", .labels = "random4"}), "did you mean \"random1\"?", "aggregate"));
  CHECK(one_line_with(loading({.name = "cifar-10", .labels = "worst", .noise = LabelNoise::pair}), "clean labels",
                      "worst"));
  CHECK(one_line_with(loading({.noise = LabelNoise::pair, .noise_rate = 1.1}), "data.noise_rate", "[0, 1], got 1.1"));
  CHECK_THROWS_AS(load_splits({.name = "imagenet"}, 0), UsageError);

  write_fashion_mnist(folder, 30, 20);
  CHECK(one_line_with(loading({}, 30), "data.validation: expected 0 to 29 of the 30 training images, got 30"));
  CHECK(one_line_with(loading({}, -1), "data.validation"));
  CHECK(one_line_with(loading({}, 10, 21), "data.train_subset: expected 0 (all) to 20 images, got 21"));
  CHECK(one_line_with(loading({}, 0, -1), "data.train_subset"));
  folder.write("fashion-mnist/train-labels-idx1-ubyte", idx({29}, std::string(29, '\0')));
  CHECK(one_line_with(loading({}), "30 images and 29 labels"));
  folder.write("fashion-mnist/t10k-images-idx3-ubyte", idx({20, 1, 4}, std::string(80, 'x')));
  CHECK(one_line_with(loading({}), "expected test images like the training images"));
  write_fashion_mnist(folder, 0, 20);
  CHECK(one_line_with(loading({}), "train-images-idx3-ubyte: no training images"));
  write_fashion_mnist(folder, 30, 0);
  CHECK(one_line_with(loading({}), "t10k-images-idx3-ubyte: no test images"));
}

TEST_CASE("catalog: the data root is the environment's or ./datasets") {
  const char* set = std::getenv("SKEDASTIC_DATA");
  CHECK(default_data_root() == (set != nullptr && *set != '\0' ? set : "datasets"));
}

TEST_CASE("catalog: the real Fashion-MNIST") {
  const auto root = test::data_root_with("fashion-mnist/train-images-idx3-ubyte.gz");
  if (!root) return;
  if (error_of([&] { load_splits({.root = *root}, 0); }).find("built without zlib") != std::string::npos) {
    return test::skip("built without zlib: the files are gzipped");
  }
  const Splits splits = load_splits({.root = *root}, 5000);
  CHECK(splits.train->size() == 55000);
  CHECK(splits.validation->size() == 5000);
  CHECK(splits.test->size() == 10000);
  CHECK(splits.test->image_shape() == Shape{28, 28, 1});
  // the first test images: an ankle boot, a pullover, two trousers
  CHECK(splits.test->label(0) == 9);
  CHECK(splits.test->label(1) == 2);
  CHECK(splits.test->label(2) == 1);
  CHECK(splits.test->label(3) == 1);
  std::vector<int64_t> counts(10, 0);
  for (const int64_t label : labels_of(*splits.test)) ++counts[static_cast<size_t>(label)];
  CHECK(counts == std::vector<int64_t>(10, 1000));

  const Splits noisy = load_splits({.noise = LabelNoise::instance, .noise_rate = 0.4, .root = *root}, 5000);
  // flip rates N(0.4, 0.1²), 60,000 labels: five standard deviations
  CHECK(std::abs(noisy.noisy_share - 0.4) < 0.01);
}

TEST_CASE("catalog: the real CIFAR-10 with its human labels") {
  const auto root = test::data_root_with("cifar-10/cifar10n-worst.npy");
  if (!root) return;
  // shares of labels that differ from the clean ones, as Wei et al. (2022) report them in Table 1
  const std::vector<std::pair<std::string, double>> shares{
      {"aggregate", 0.0903}, {"random1", 0.1723}, {"random2", 0.1812}, {"random3", 0.1764}, {"worst", 0.4021}};
  for (const auto& [labels, share] : shares) {
    CAPTURE(labels);
    const Splits splits = load_splits({.name = "cifar-10", .labels = labels, .root = *root}, 5000);
    CHECK(splits.train->size() == 45000);
    CHECK(splits.noisy_share == doctest::Approx(share).epsilon(0.001));
    CHECK(splits.test->label(0) == 3);  // the first test image is a cat
    CHECK(splits.test->has_distributions());
  }
}

}  // namespace
}  // namespace sked
