#include "data/dataset.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/common/files.h"
#include "tests/data/samples.h"

namespace sked {
namespace {

using test::class_names;
using test::counted_dataset;
using test::counted_images;
using test::error_of;
using test::one_line_with;

TEST_CASE("dataset: images, labels and distributions by index") {
  const Tensor p = Tensor::from<float>({0.25f, 0.75f, 1.0f, 0.0f}, {2, 2});
  const ImageDataset data("two", class_names(2), counted_images(2, 3, 1), Tensor::from<int64_t>({1, 0}, {2}), p);
  CHECK(data.size() == 2);
  CHECK(data.classes() == 2);
  CHECK(data.image_shape() == Shape{3, 3, 1});
  CHECK(data.name() == "two");
  CHECK(data.image(1).shape() == Shape{3, 3, 1});
  CHECK(data.image(1).to_vector<uint8_t>() == std::vector<uint8_t>{1, 8, 15, 22, 29, 36, 43, 50, 57});
  CHECK(data.image(1).shares_storage(data.images()));
  CHECK(data.label(0) == 1);
  REQUIRE(data.has_distributions());
  CHECK(data.distribution(0).to_vector<float>() == std::vector{0.25f, 0.75f});
  for (const int64_t i : {int64_t{-1}, int64_t{2}}) {
    CHECK(one_line_with(error_of([&] { data.image(i); }), "two", "0 to 1", std::to_string(i)));
    CHECK(one_line_with(error_of([&] { data.label(i); }), "two"));
    CHECK(one_line_with(error_of([&] { data.distribution(i); }), "two"));
  }
}

TEST_CASE("dataset: what does not fit together is an error") {
  const auto making = [](Tensor images, Tensor labels, Tensor p = {}) {
    return error_of([&] { ImageDataset("bad", class_names(2), images, labels, p); });
  };
  const Tensor images = counted_images(2, 3, 1), labels = Tensor::from<int64_t>({0, 1}, {2});
  CHECK(making(images, labels).empty());
  CHECK(one_line_with(making({}, labels), "bad", "images"));
  CHECK(one_line_with(making(Tensor::zeros({2, 3, 3, 1}), labels), "u8", "f32"));
  CHECK(one_line_with(making(images.reshape({2, 9}), labels), "(N, H, W, C)"));
  CHECK(one_line_with(making(images, Tensor::from<int64_t>({0, 1, 0}, {3})), "2 images and 3 labels"));
  CHECK(one_line_with(making(images, Tensor::from<int64_t>({0, 2}, {2})), "bad: label 1 is 2, expected 0 to 1"));
  CHECK(one_line_with(making(images, Tensor::from<int64_t>({-1, 0}, {2})), "bad: label 0 is -1"));
  CHECK(one_line_with(making(images, Tensor::zeros({2})), "i64"));
  CHECK(one_line_with(making(images, labels, Tensor::zeros({2, 3})), "expected distributions (2, 2)"));
  CHECK(one_line_with(making(images, labels, Tensor::from<float>({1, 0, 0.5f, 0.4f}, {2, 2})), "distribution 1"));
  CHECK(one_line_with(making(images, labels, Tensor::from<float>({2, -1, 1, 0}, {2, 2})), "distribution 0"));
  CHECK(one_line_with(making(images, labels, Tensor::from<float>({1, 0, NAN, 1}, {2, 2})), "distribution 1"));
  CHECK(one_line_with(error_of([] { counted_dataset(2)->distribution(0); }), "counted has no distributions"));
}

TEST_CASE("dataset: an empty one is a dataset") {
  const auto data = counted_dataset(0);
  CHECK(data->size() == 0);
  CHECK(one_line_with(error_of([&] { data->image(0); }), "counted"));
}

TEST_CASE("subset: by indices, by range, of a subset") {
  const auto data = counted_dataset(10);
  const auto picked = std::make_shared<Subset>(data, std::vector<int64_t>{7, 2, 7});
  CHECK(picked->size() == 3);
  CHECK(picked->classes() == 3);
  CHECK(picked->label(1) == 2);
  CHECK(picked->image(0).to_vector<uint8_t>() == data->image(7).to_vector<uint8_t>());
  const Subset last(data, 6, 10), of_subset(picked, 1, 2), none(data, 10, 10);
  CHECK(last.size() == 4);
  CHECK(last.base_index(0) == 6);
  CHECK(of_subset.label(0) == 2);
  CHECK(none.size() == 0);
  CHECK(one_line_with(error_of([&] { last.label(4); }), "counted", "0 to 3"));
  CHECK(one_line_with(error_of([&] { Subset(data, {0, 10}); }), "0 to 9", "got 10"));
  CHECK(one_line_with(error_of([&] { Subset(data, 5, 11); }), "[5, 11)"));
  CHECK(one_line_with(error_of([&] { Subset(data, -1, 3); }), "[-1, 3)"));
  CHECK(one_line_with(error_of([&] { Subset(data, 4, 3); }), "[4, 3)"));
  CHECK(one_line_with(error_of([] { Subset(nullptr, 0, 0); }), "got none"));
}

}  // namespace
}  // namespace sked
