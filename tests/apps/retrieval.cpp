// Retrieval and unseen classes on cases counted by hand, and as NumPy and SciPy have them.

#include "apps/common/measure/retrieval.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/safetensors.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

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

/// Image i with text i as its only caption, each its own group.
CaptionedImages one_caption_each(const Tensor& images, const Tensor& texts) {
  CaptionedImages s{images, texts, {}, {}, {}};
  for (int64_t i = 0; i < images.dim(0); ++i) s.owners.push_back(i), s.said.push_back(i), s.groups.push_back(i);
  return s;
}

void check_recalls(const Recalls& r, const Tensor& expected) {
  const double got[] = {r.image_to_text_1, r.image_to_text_5, r.image_to_text_10,
                        r.text_to_image_1, r.text_to_image_5, r.text_to_image_10};
  const std::vector<double> want = expected.to_vector<double>();
  for (size_t i = 0; i < 6; ++i) CHECK(got[i] == doctest::Approx(want.at(i)).epsilon(1e-12));
}

}  // namespace

TEST_CASE("retrieval: an image of several captions finds one of its own, each caption its image") {
  // Twelve directions on a quarter circle: text j lies next to image j, but texts 0 and 11 have changed places.
  const int64_t n = 12;
  CaptionedImages s = one_caption_each(Tensor::empty({n, 2}), Tensor::empty({n, 2}));
  for (int64_t i = 0; i < n; ++i) {
    const double angle = 0.13 * static_cast<double>(i);
    const int64_t j = i == 0 ? n - 1 : i == n - 1 ? 0 : i;
    for (const auto& [t, row] : {std::pair{&s.images, i}, std::pair{&s.texts, j}}) {
      t->data<float>()[2 * row] = static_cast<float>(std::cos(angle));
      t->data<float>()[2 * row + 1] = static_cast<float>(std::sin(angle));
    }
  }
  const Retrieval r = retrieval(s);
  CHECK(r.count == n);
  CHECK(r.captions == n);
  CHECK(r.equal_captions == 0);
  // Images 0 and 11 find their texts behind the eleven others.
  CHECK(r.image_to_text_1 == doctest::Approx(10.0 / 12));
  CHECK(r.image_to_text_5 == doctest::Approx(10.0 / 12));
  CHECK(r.image_to_text_10 == doctest::Approx(10.0 / 12));
  CHECK(r.text_to_image_1 == doctest::Approx(10.0 / 12));

  // In one group, each finds the other's text first.
  CaptionedImages together = s;
  together.groups[11] = 0;
  CHECK(retrieval(together).image_to_text_1 == 1);

  // Image 0 has a second caption, that of its own direction: text 11's place. One of two is enough for the image, and
  // each caption counts for itself.
  s.owners.push_back(0), s.said.push_back(11);
  const Retrieval more = retrieval(s);
  CHECK(more.captions == 13);
  CHECK(more.equal_captions == 2);  // text 11 is image 11's too
  CHECK(more.image_to_text_5 == doctest::Approx(11.0 / 12));
  CHECK(more.text_to_image_10 == doctest::Approx(11.0 / 13));
}

TEST_CASE("retrieval: a model that tells nothing apart has the recall of guessing") {
  for (const int64_t n : {7, 12, 1000}) {
    // All similarities are equal: at n of N, n / N, wherever the own one stands.
    const Retrieval r = retrieval(one_caption_each(Tensor::full({n, 1}, 1), Tensor::full({n, 1}, 1)));
    const auto share = [&](double depth) { return doctest::Approx(std::min(1.0, depth / static_cast<double>(n))); };
    CHECK(r.image_to_text_1 == share(1));
    CHECK(r.image_to_text_5 == share(5));
    CHECK(r.text_to_image_10 == share(10));
  }
}

TEST_CASE("retrieval: a perfect model of eight images a caption has one in eight, and ln 8") {
  const int64_t classes = 6, each = 8;
  for (const bool sorted : {false, true}) {
    CaptionedImages s;
    s.images = Tensor::zeros({classes * each, classes});
    s.texts = Tensor::zeros({classes, classes});
    for (int64_t k = 0; k < classes; ++k) s.texts.data<float>()[k * classes + k] = 1;
    for (int64_t i = 0; i < classes * each; ++i) {
      const int64_t k = sorted ? i / each : i % classes;
      s.images.data<float>()[i * classes + k] = 1;
      s.owners.push_back(i), s.said.push_back(k), s.groups.push_back(i);
    }
    const Retrieval r = retrieval(s);
    for (const double recall : {r.image_to_text_1, r.text_to_image_1}) CHECK(recall == doctest::Approx(1.0 / 8));
    for (const double recall : {r.image_to_text_5, r.text_to_image_5}) CHECK(recall == doctest::Approx(5.0 / 8));
    for (const double recall : {r.image_to_text_10, r.text_to_image_10}) CHECK(recall == 1);
    CHECK(r.equal_captions == 48);
    for (const double recall : {r.alike.image_to_text_1, r.alike.text_to_image_1}) CHECK(recall == 1);
    const Measures m = measure_by_captions(s, 0.02);
    CHECK(m.count == 48);
    CHECK(m.nll == doctest::Approx(std::log(8)));
    CHECK(m.accuracy == doctest::Approx(1.0 / 8));
    CHECK(m.top5 == doctest::Approx(5.0 / 8));
    CHECK(m.ece < 1e-6);
    CHECK(m.brier == doctest::Approx(7.0 / 8));
  }
}

TEST_CASE("retrieval: as NumPy and SciPy have it, with shared captions, and images and texts that are alike") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  const auto list = [&](const std::string& name) { return file.at("retrieval/" + name).to_vector<int64_t>(); };
  CaptionedImages s{file.at("retrieval/images"), file.at("retrieval/texts"), list("owners"), list("said"), {}};
  for (const std::string groups : {"each", "classes"}) {
    CAPTURE(groups);
    s.groups = list(groups + "/groups");
    const Retrieval r = retrieval(s);
    CHECK(r.count == 40);
    CHECK(r.captions == static_cast<int64_t>(s.owners.size()));
    CHECK(r.equal_captions == list(groups + "/equal")[0]);
    check_recalls(r, file.at("retrieval/" + groups + "/strict"));
    check_recalls(r.alike, file.at("retrieval/" + groups + "/alike"));
  }
  const Measures m = measure_by_captions(s, file.at("retrieval/temperature").to_vector<double>()[0]);
  const std::vector<double> want = file.at("retrieval/measures").to_vector<double>();
  const double got[] = {m.nll, m.accuracy, m.top5, m.ece, m.brier};
  for (size_t i = 0; i < want.size(); ++i) CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-6));  // p is f32
}

TEST_CASE("retrieval: what cannot be searched is refused") {
  const auto refusal = [](auto&& change) {
    CaptionedImages s = one_caption_each(Tensor::full({3, 2}, 1), Tensor::full({3, 2}, 1));
    change(s);
    const std::string both = error_of([&] { measure_by_captions(s, 1); });
    CHECK(error_of([&] { retrieval(s); }) == both);
    return both;
  };
  CHECK(refusal([](CaptionedImages&) {}).empty());
  CHECK(one_line_with(refusal([](CaptionedImages& s) {
                        s.images = Tensor::empty({0, 2}), s.groups.clear();
                      }),
                      "images to search, got none"));
  CHECK(one_line_with(refusal([](CaptionedImages& s) { s.owners[1] = 2; }), "image 1", "a caption, got none"));
  CHECK(one_line_with(refusal([](CaptionedImages& s) { s.owners[1] = 3; }), "caption 1", "0 to 2", "got 3 and 1"));
  CHECK(one_line_with(refusal([](CaptionedImages& s) { s.said[2] = -1; }), "caption 2", "got 2 and -1"));
  CHECK(one_line_with(refusal([](CaptionedImages& s) { s.groups.pop_back(); }), "each of 3 images, got 3, 3 and 2"));
  CHECK(one_line_with(refusal([](CaptionedImages& s) { s.texts = Tensor::full({3, 4}, 1); }), "(3, 2)", "(3, 4)"));
  CHECK(one_line_with(refusal([](CaptionedImages& s) { s.texts.data<float>()[4] = std::nanf(""); }), "text 2", "nan"));
  CHECK(one_line_with(refusal([](CaptionedImages& s) { s.images.data<float>()[3] = INFINITY; }), "image 1", "inf"));
}

TEST_CASE("unseen classes: among all, and among themselves") {
  UnseenAccumulator accumulator(3, {1, 2});
  const Tensor p = rows({4, 3}, {0.6F, 0.3F, 0.1F,      // label 1: third-best guess is not it, but best of the unseen
                                 0.1F, 0.7F, 0.2F,      // label 1: right
                                 0.5F, 0.4F, 0.1F,      // label 2: wrong both ways
                                 0.4F, 0.35F, 0.25F});  // label 0, a seen class: right
  accumulator.add(p, labels({1, 1, 2, 0}));
  const UnseenClasses u = accumulator.measures();
  CHECK(u.count == 3);
  CHECK(u.accuracy == doctest::Approx(1.0 / 3));
  CHECK(u.accuracy_between == doctest::Approx(2.0 / 3));
  CHECK(u.seen_count == 1);
  CHECK(u.seen_accuracy == 1);
  CHECK_THROWS_AS(accumulator.add(p, labels({1, 1, 2})), Error);

  UnseenAccumulator none(3, {});
  none.add(p, labels({1, 1, 2, 0}));
  CHECK(none.measures().count == 0);
}
