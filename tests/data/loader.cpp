#include "data/loader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "core/kernels/index.h"
#include "tests/common/files.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::counted_dataset;
using test::error_of;
using test::one_line_with;

constexpr const char* kAugmented = "random_crop(4,2)|flip|value_range(0,1)";
constexpr const char* kPlain = "value_range(0,255)";

Loader make(std::shared_ptr<const Dataset> data, const LoaderOptions& options, const char* pipeline = kAugmented) {
  return Loader(std::move(data), Pipeline::parse(pipeline), options);
}

/// Vector i is (i, 0.5, i²); the last one cannot be read.
class Vectors final : public Dataset {
 public:
  explicit Vectors(int64_t count) : Dataset("vectors", test::class_names(3)), count_(count) {}
  int64_t size() const override { return count_; }
  Shape image_shape() const override { return {3}; }
  Tensor image(int64_t i) const override {
    Tensor x = Tensor::empty({3});
    read_features(i, x.data<float>());
    return x;
  }
  void read_features(int64_t i, float* out) const override {
    require(i < count_ - 1, "vectors", "vectors.npy: row ", i, " is cut short");
    const auto x = static_cast<float>(i);
    out[0] = x, out[1] = 0.5F, out[2] = x * x;
  }
  int64_t label(int64_t i) const override { return i % 3; }

 private:
  int64_t count_;
};

std::vector<Batch> rest_of(Loader& loader) {
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(*batch);
  return batches;
}

std::vector<Batch> epoch(Loader& loader, int64_t number, int64_t first_batch = 0) {
  loader.start(number, first_batch);
  return rest_of(loader);
}

void check_same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].images.shape() == b[i].images.shape());
    CHECK(a[i].images.to_vector<float>() == b[i].images.to_vector<float>());
    CHECK(a[i].labels.to_vector<int64_t>() == b[i].labels.to_vector<int64_t>());
    CHECK(a[i].indices.to_vector<int64_t>() == b[i].indices.to_vector<int64_t>());
  }
}

std::vector<int64_t> indices_of(const std::vector<Batch>& batches) {
  std::vector<int64_t> all;
  for (const Batch& batch : batches) std::ranges::copy(batch.indices.to_vector<int64_t>(), std::back_inserter(all));
  return all;
}

/// A dataset whose image number `bad` cannot be read, and which counts reads.
class Failing final : public Dataset {
 public:
  Failing(int64_t size, int64_t bad) : Dataset("failing", test::class_names(2)), size_(size), bad_(bad) {}
  int64_t size() const override { return size_; }
  Shape image_shape() const override { return {2, 2, 1}; }
  Tensor image(int64_t i) const override {
    ++reads;
    if (i == bad_) fail("failing", "image ", i, " is damaged");
    return Tensor::zeros(i == bad_ + 1 ? Shape{3, 2, 1} : image_shape(), DType::u8);
  }
  int64_t label(int64_t i) const override { return i % 2; }

  mutable std::atomic<int> reads = 0;

 private:
  int64_t size_, bad_;
};

TEST_CASE("loader: vectors come as rows, in the order that images would have, through views too") {
  const auto vectors = std::make_shared<Vectors>(9);
  const auto usable = std::make_shared<Subset>(vectors, 0, 8);
  Loader loader = make(usable, {.batch_size = 3, .seed = 7, .threads = 2, .bytes = true}, kDefaultPipeline);
  CHECK(loader.image_shape() == Shape{3});
  const std::vector<Batch> batches = epoch(loader, 2);
  CHECK(indices_of(batches) == shuffled_order(8, 7, 2));
  for (const Batch& batch : batches) {
    REQUIRE(batch.images.shape() == Shape{batch.indices.dim(0), 3});
    for (int64_t b = 0; b < batch.indices.dim(0); ++b) {
      const int64_t i = batch.indices.data<int64_t>()[b];
      const auto x = static_cast<float>(i);
      CHECK(batch.images.rows(b, b + 1).to_vector<float>() == std::vector<float>{x, 0.5F, x * x});
      CHECK(batch.labels.data<int64_t>()[b] == i % 3);
    }
  }
  Loader cut_short = make(vectors, {.batch_size = 9, .shuffle = false}, kDefaultPipeline);
  CHECK(one_line_with(error_of([&] { epoch(cut_short, 0); }), "vectors.npy: row 8 is cut short"));
  CHECK(one_line_with(error_of([&] { make(vectors, {}, kAugmented); }),
                      "pipelines prepare images, and these examples are vectors", kDefaultPipeline));
  CHECK(one_line_with(error_of([&] { counted_dataset(2)->read_features(0, nullptr); }), "made of images"));
}

TEST_CASE("loader: batches hold what the dataset holds") {
  const auto data = counted_dataset(10);
  Loader loader = make(data, {.batch_size = 4, .shuffle = false, .threads = 2}, kPlain);
  CHECK(loader.batches() == 3);
  CHECK(loader.image_shape() == Shape{4, 4, 3});
  const auto batches = epoch(loader, 0);
  REQUIRE(batches.size() == 3);
  CHECK(batches[0].images.shape() == Shape{4, 4, 4, 3});
  CHECK(batches[2].images.shape() == Shape{2, 4, 4, 3});
  CHECK_FALSE(batches[0].distributions.defined());
  CHECK(indices_of(batches) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  const auto image = data->image(9).to_vector<float>();
  CHECK(batches[2].images.rows(1, 2).to_vector<float>() == image);
  CHECK(batches[2].labels.to_vector<int64_t>() == std::vector<int64_t>{2, 0});
}

TEST_CASE("loader: distributions come along, in the shuffled order") {
  Tensor p = Tensor::empty({6, 2});
  for (int64_t i = 0; i < 6; ++i) {
    p.data<float>()[2 * i] = static_cast<float>(i) / 8.0f;
    p.data<float>()[2 * i + 1] = 1.0f - static_cast<float>(i) / 8.0f;
  }
  const auto data = std::make_shared<ImageDataset>("p", test::class_names(2), test::counted_images(6, 2, 1),
                                                   test::counted_labels(6, 2), p);
  Loader loader = make(std::make_shared<Subset>(data, 2, 6), {.batch_size = 3}, kPlain);
  for (const Batch& batch : epoch(loader, 1)) {
    for (int64_t b = 0; b < batch.indices.dim(0); ++b) {
      const int64_t i = batch.indices.data<int64_t>()[b] + 2;
      CHECK(batch.distributions.data<float>()[2 * b] == static_cast<float>(i) / 8.0f);
      CHECK(batch.labels.data<int64_t>()[b] == i % 2);
    }
  }
}

TEST_CASE("loader: an epoch is a permutation given by seed and epoch") {
  Loader loader = make(counted_dataset(100), {.batch_size = 7, .seed = 5});
  const auto first = indices_of(epoch(loader, 0)), second = indices_of(epoch(loader, 1));
  CHECK(first == shuffled_order(100, 5, 0));
  CHECK(first != second);
  CHECK(indices_of(epoch(loader, 0)) == first);
  auto sorted = second;
  std::ranges::sort(sorted);
  for (int64_t i = 0; i < 100; ++i) CHECK(sorted[static_cast<size_t>(i)] == i);
  CHECK(shuffled_order(100, 6, 0) != first);
  CHECK(shuffled_order(0, 6, 0).empty());
  CHECK(shuffled_order(1, 6, 0) == std::vector<int64_t>{0});
}

TEST_CASE("loader: every position is about equally likely for an example") {
  std::vector<int> counts(5, 0);
  for (uint64_t seed = 0; seed < 5000; ++seed) {
    const auto order = shuffled_order(5, seed, 0);
    ++counts[static_cast<size_t>(std::ranges::find(order, 0) - order.begin())];
  }
  for (const int count : counts) CHECK(std::abs(count - 1000) < 142);  // five standard deviations
}

TEST_CASE("loader: the same bytes for any number of threads, and from the middle of an epoch") {
  const auto data = counted_dataset(53);
  Loader inline_loader = make(data, {.batch_size = 5, .seed = 3, .threads = 0});
  const auto expected = epoch(inline_loader, 2);
  CHECK(expected.size() == 11);
  for (const int threads : {1, 2, 5}) {
    for (const int prefetch : {1, 3, 20}) {
      CAPTURE(threads);
      CAPTURE(prefetch);
      Loader loader = make(data, {.batch_size = 5, .seed = 3, .threads = threads, .prefetch = prefetch});
      check_same(epoch(loader, 2), expected);
      check_same(epoch(loader, 2, 4), {expected.begin() + 4, expected.end()});
      CHECK(epoch(loader, 2, 11).empty());
    }
  }
  // augmentation changes from epoch to epoch for one and the same example
  Loader fixed = make(counted_dataset(1), {.batch_size = 1, .shuffle = false});
  CHECK(epoch(fixed, 0)[0].images.to_vector<float>() != epoch(fixed, 1)[0].images.to_vector<float>());
}

TEST_CASE("loader: last batches, sizes around the batch, empty datasets") {
  const auto count = [](int64_t size, bool drop_last) {
    Loader loader = make(counted_dataset(size), {.batch_size = 4, .drop_last = drop_last, .threads = 2});
    const auto batches = epoch(loader, 0);
    CHECK(static_cast<int64_t>(batches.size()) == loader.batches());
    return loader.batches();
  };
  CHECK(count(0, false) == 0);
  CHECK(count(1, false) == 1);
  CHECK(count(4, false) == 1);
  CHECK(count(5, false) == 2);
  CHECK(count(3, true) == 0);
  CHECK(count(8, true) == 2);
  CHECK(count(9, true) == 2);
  Loader huge = make(counted_dataset(3), {.batch_size = int64_t{1} << 62});
  CHECK(epoch(huge, 0).size() == 1);
}

TEST_CASE("loader: start and the end of its life stop the workers anywhere") {
  const auto data = counted_dataset(64);
  const LoaderOptions options{.batch_size = 2, .threads = 3, .prefetch = 2};
  Loader reference = make(data, options);
  const auto expected = epoch(reference, 1);
  for (int taken = 0; taken < 6; ++taken) {
    Loader loader = make(data, options);
    loader.start(0);
    for (int i = 0; i < taken; ++i) CHECK(loader.next().has_value());
    loader.start(1);
    for (int i = 0; i < taken; ++i) CHECK(loader.next().has_value());
    check_same(epoch(loader, 1), expected);
    loader.start(2);
  }
}

TEST_CASE("loader: no more is prepared ahead than asked for") {
  const auto data = std::make_shared<Failing>(100, -5);
  Loader loader = make(data, {.batch_size = 1, .threads = 2, .prefetch = 3}, kPlain);
  loader.start(0);
  while (data->reads < 3) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // time to do wrong
  CHECK(data->reads == 3);
  loader.next();
  while (data->reads < 4) std::this_thread::yield();
  CHECK(rest_of(loader).size() == 99);
  CHECK(data->reads == 100);
}

TEST_CASE("loader: what a worker throws arrives with its batch") {
  for (const int threads : {0, 1, 4}) {
    CAPTURE(threads);
    const auto data = std::make_shared<Failing>(20, 7);
    Loader loader = make(data, {.batch_size = 3, .shuffle = false, .threads = threads}, kPlain);
    loader.start(0);
    CHECK(loader.next().has_value());
    CHECK(loader.next().has_value());
    CHECK(one_line_with(error_of([&] { loader.next(); }), "[failing] image 7 is damaged"));
    CHECK(one_line_with(error_of([&] { loader.next(); }), "expected start()"));
    loader.start(0, 3);
    CHECK(rest_of(loader).size() == 4);
    // an image of another shape than the dataset promised
    const auto other = std::make_shared<Failing>(20, 1);
    Loader wrong = make(std::make_shared<Subset>(other, 2, 4), {.batch_size = 1, .shuffle = false}, kPlain);
    wrong.start(0);
    CHECK(one_line_with(error_of([&] { wrong.next(); }), "(2, 2, 1)", "(3, 2, 1)"));
  }
}

TEST_CASE("loader: wrong use is an error") {
  const auto data = counted_dataset(10);
  const auto making = [&](const LoaderOptions& options) { return error_of([&] { make(data, options); }); };
  CHECK(one_line_with(making({.batch_size = 0}), "batch_size >= 1, got 0"));
  CHECK(one_line_with(making({.threads = -1}), "threads, got -1"));
  CHECK(one_line_with(making({.prefetch = 0}), "prefetch >= 1, got 0"));
  CHECK(one_line_with(error_of([] { make(nullptr, {}); }), "got none"));
  CHECK(one_line_with(error_of([&] { make(data, {}, "random_crop(9,0)|value_range(0,1)"); }), "does not fit"));
  Loader loader = make(data, {.batch_size = 5});
  CHECK(one_line_with(error_of([&] { loader.next(); }), "expected start()"));
  CHECK(one_line_with(error_of([&] { loader.start(-1); }), "epoch >= 0"));
  CHECK(one_line_with(error_of([&] { loader.start(0, 3); }), "0 to 2, got 3"));
}

TEST_CASE("loader: the time spent waiting is counted") {
  Loader loader = make(counted_dataset(200), {.batch_size = 50, .threads = 0});
  CHECK(loader.seconds_waited() == 0.0);
  const auto begin = std::chrono::steady_clock::now();
  epoch(loader, 0);
  const double all = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  CHECK(loader.seconds_waited() > 0.0);
  CHECK(loader.seconds_waited() <= all);
}

TEST_CASE("loader: images as bytes stand for the values of f32 batches, but under mixup, whose are f32") {
  const auto data = test::counted_dataset(7);
  for (const std::string pipeline : {"random_crop(4,2)|flip|value_range(-1,1)", "value_range(0,1)",
                                     "flip|value_range(0,1)|normalize(0.4 0.5 0.6, 0.2 0.3 1)",
                                     "random_crop(4,1)|value_range(0,1)|cutmix(1)", "value_range(-1,1)|mixup(0.5)"}) {
    CAPTURE(pipeline);
    Loader wide = make(data, {.batch_size = 3, .threads = 0}, pipeline.c_str()),
           narrow = make(data, {.batch_size = 3, .threads = 2, .bytes = true}, pipeline.c_str());
    const std::vector<Batch> values = epoch(wide, 1), bytes = epoch(narrow, 1);
    REQUIRE(bytes.size() == values.size());
    const bool mixup = pipeline.find("mixup") != std::string::npos;
    for (size_t i = 0; i < bytes.size(); ++i) {
      Tensor images = bytes[i].images;
      REQUIRE(images.dtype() == (mixup ? DType::f32 : DType::u8));
      if (!mixup) {
        images = Tensor::empty(images.shape());
        kernel::look_up(bytes[i].images, Pipeline::parse(pipeline).values(), images);
      }
      CHECK(images.to_vector<float>() == values[i].images.to_vector<float>());
      CHECK(bytes[i].labels.to_vector<int64_t>() == values[i].labels.to_vector<int64_t>());
      if (values[i].targets.defined())
        CHECK(bytes[i].targets.to_vector<float>() == values[i].targets.to_vector<float>());
    }
  }
}

}  // namespace
}  // namespace sked
