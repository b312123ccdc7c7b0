// Retrieval and unseen classes on cases counted by hand.

#include "apps/common/retrieval.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

using namespace sked;

namespace {

Tensor rows(const Shape& shape, const std::vector<float>& values) {
  Tensor t = Tensor::empty(shape);
  std::copy(values.begin(), values.end(), t.data<float>());
  return t;
}

Tensor labels(const std::vector<int64_t>& values) {
  Tensor t = Tensor::empty({static_cast<int64_t>(values.size())}, DType::i64);
  std::copy(values.begin(), values.end(), t.data<int64_t>());
  return t;
}

}  // namespace

TEST_CASE("retrieval: recall counts the pairs outside the group that are more similar") {
  // Twelve directions on a quarter circle: text j lies next to image j, but texts 0 and 11 have changed places.
  const int64_t n = 12;
  Tensor images = Tensor::empty({n, 2}), texts = Tensor::empty({n, 2});
  for (int64_t i = 0; i < n; ++i) {
    const double angle = 0.13 * static_cast<double>(i);
    const int64_t j = i == 0 ? n - 1 : i == n - 1 ? 0 : i;
    for (const auto& [t, row] : {std::pair{&images, i}, std::pair{&texts, j}}) {
      t->data<float>()[2 * row] = static_cast<float>(std::cos(angle));
      t->data<float>()[2 * row + 1] = static_cast<float>(std::sin(angle));
    }
  }
  std::vector<int64_t> each_its_own(static_cast<size_t>(n));
  for (size_t i = 0; i < each_its_own.size(); ++i) each_its_own[i] = static_cast<int64_t>(i);
  const Retrieval r = retrieval(images, texts, each_its_own);
  CHECK(r.count == n);
  // Images 0 and 11 find their texts behind the eleven others.
  CHECK(r.image_to_text_1 == doctest::Approx(10.0 / 12));
  CHECK(r.image_to_text_5 == doctest::Approx(10.0 / 12));
  CHECK(r.image_to_text_10 == doctest::Approx(10.0 / 12));
  CHECK(r.text_to_image_1 == doctest::Approx(10.0 / 12));

  // In one group, each finds the other's text first.
  std::vector<int64_t> together = each_its_own;
  together[11] = 0;
  CHECK(retrieval(images, texts, together).image_to_text_1 == 1);
}

TEST_CASE("retrieval: among equals the first comes first, and depth counts") {
  // All texts alike: the query's own place decides.
  const int64_t n = 7;
  const Tensor images = Tensor::full({n, 1}, 1), texts = Tensor::full({n, 1}, 1);
  std::vector<int64_t> groups{0, 1, 2, 3, 4, 5, 6};
  const Retrieval r = retrieval(images, texts, groups);
  CHECK(r.image_to_text_1 == doctest::Approx(1.0 / 7));
  CHECK(r.image_to_text_5 == doctest::Approx(5.0 / 7));
  CHECK(r.text_to_image_10 == 1);
  CHECK(retrieval(Tensor::empty({0, 3}), Tensor::empty({0, 3}), {}).count == 0);
  CHECK_THROWS_WITH_AS(retrieval(images, texts, {0, 1}), doctest::Contains("7"), Error);
}

TEST_CASE("unseen classes: among all, and among themselves") {
  UnseenGatherer gatherer(3, {1, 2});
  const Tensor p = rows({4, 3}, {0.6F, 0.3F, 0.1F,      // label 1: third-best guess is not it, but best of the unseen
                                 0.1F, 0.7F, 0.2F,      // label 1: right
                                 0.5F, 0.4F, 0.1F,      // label 2: wrong both ways
                                 0.4F, 0.35F, 0.25F});  // label 0, a seen class: right
  gatherer.add(p, labels({1, 1, 2, 0}));
  const UnseenClasses u = gatherer.measures();
  CHECK(u.count == 3);
  CHECK(u.accuracy == doctest::Approx(1.0 / 3));
  CHECK(u.accuracy_between == doctest::Approx(2.0 / 3));
  CHECK(u.seen_accuracy == 1);
  CHECK_THROWS_AS(gatherer.add(p, labels({1, 1, 2})), Error);

  UnseenGatherer none(3, {});
  none.add(p, labels({1, 1, 2, 0}));
  CHECK(none.measures().count == 0);
}
