#include "data/made_embeddings.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "data/catalog.h"
#include "data/feature_statistics.h"
#include "tests/common/files.h"

namespace sked {
namespace {

using test::error_of;
using test::one_line_with;
using Part = MadeEmbeddings::Part;

/// 23 classes, so that the last super-class has three of them.
const MadeEmbeddingsSpec kSpec{.classes = 23, .superclass_size = 5, .width = 64, .train = 2000, .test = 1500};

std::vector<double> vector_of(const Dataset& data, int64_t i) {
  const Tensor x = data.image(i);
  return {x.data<float>(), x.data<float>() + x.numel()};
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j) sum += a[j] * b[j];
  return sum / static_cast<double>(a.size());
}

TEST_CASE("made embeddings: labels are confused within super-classes, as often as the distribution says") {
  const MadeEmbeddings made(kSpec, Part::train, true), clean(kSpec, Part::train, false);
  const MadeEmbeddings test(kSpec, Part::test, false), votes(kSpec, Part::test, true);
  CHECK(made.size() == 2000);
  CHECK(made.classes() == 23);
  CHECK(made.image_shape() == Shape{64});
  CHECK(made.class_names()[22] == "class 22 of super-class 4");
  CHECK(made.source(7) == "made-embeddings, vector 7");
  std::vector<int> seen(23), all(23);
  int wrong = 0;
  for (int64_t i = 0; i < 2000; ++i) {
    const int64_t y = clean.label(i), label = made.label(i);
    REQUIRE(label / 5 == y / 5);
    wrong += label != y;
    ++seen[static_cast<size_t>(y)];
  }
  CHECK(std::ranges::min(seen) > 50);             // of 87 each
  CHECK(std::abs(wrong / 2000.0 - 0.25) < 0.04);  // λ is 0.25 in the mean
  CHECK(made.noisy_share() == wrong / 2000.0);
  CHECK(clean.noisy_share() == 0);

  CHECK_FALSE(made.has_distributions());
  double expected = 0;
  int found = 0;
  for (int64_t i = 0; i < 1500; ++i) {
    const Tensor p = test.distribution(i);
    const float* values = p.data<float>();
    CHECK(values[test.label(i)] >= 0.5f);
    int positive = 0;
    for (int64_t k = 0; k < 23; ++k) {
      positive += values[k] > 0;
      CHECK((values[k] == 0 || k / 5 == test.label(i) / 5));
    }
    CHECK(positive == 2);
    expected += 1 - static_cast<double>(values[test.label(i)]);
    found += votes.label(i) != test.label(i);
    all[static_cast<size_t>(test.label(i))] = 1;
  }
  CHECK(std::abs(expected - found) < 60);  // 3.5 deviations
  CHECK(std::ranges::min(all) == 1);
}

TEST_CASE("made embeddings: vectors are those of the formula") {
  MadeEmbeddingsSpec spec = kSpec;
  spec.width = 4096;
  spec.spread = 0;
  const MadeEmbeddings exact(spec, Part::test, false);
  // Without spread and confusion a vector is what its class looks like; kindred classes share half of that.
  spec.confusion = 0;
  const MadeEmbeddings pure(spec, Part::test, false);
  std::vector<std::vector<double>> looks(23);
  for (int64_t i = 0; i < 400; ++i) {
    auto& look = looks[static_cast<size_t>(pure.label(i))];
    if (look.empty()) look = vector_of(pure, i);
    CHECK(look == vector_of(pure, i));
  }
  for (size_t a = 0; a < 23; ++a)
    for (size_t b = 0; b <= a; ++b)
      CHECK(std::abs(dot(looks[a], looks[b]) - (a == b ? 1 : a / 5 == b / 5 ? 0.5 : 0)) < 0.09);
  // With confusion it lies between those of two classes, where the distribution says.
  for (int64_t i = 0; i < 50; ++i) {
    const Tensor p = exact.distribution(i);
    const std::vector<double> x = vector_of(exact, i);
    for (size_t j = 0; j < x.size(); j += 97) {
      double mean = 0;
      for (size_t k = 0; k < 23; ++k) mean += static_cast<double>(p.data<float>()[k]) * looks[k][j];
      CHECK(std::abs(x[j] - mean) < 1e-6);
    }
  }
  // With spread, noise that no two vectors share.
  spec.spread = 2;
  const MadeEmbeddings noisy(spec, Part::test, false), other(spec, Part::train, false);
  std::vector<std::vector<double>> rest;
  for (int64_t i = 0; i < 20; ++i) {
    const MadeEmbeddings& part = i % 2 == 0 ? noisy : other;
    std::vector<double> x = vector_of(part, i / 2);
    CHECK(std::abs(dot(x, x) - 1) < 0.09);
    const auto& look = looks[static_cast<size_t>(part.label(i / 2))];
    for (size_t j = 0; j < x.size(); ++j) x[j] = (x[j] * std::sqrt(6.0) - look[j] * std::sqrt(2.0)) / 2;
    rest.push_back(std::move(x));
  }
  for (size_t a = 0; a < rest.size(); ++a)
    for (size_t b = 0; b <= a; ++b) CHECK(std::abs(dot(rest[a], rest[b]) - (a == b ? 1 : 0)) < 0.09);
}

TEST_CASE("made embeddings: in the catalog, with whom they can be told apart by") {
  DataSpec spec{.name = "made-embeddings", .labels = "confused", .made = kSpec};
  const Splits splits = load_splits(spec, 300);
  CHECK(holds_features(*splits.train));
  CHECK(splits.train->size() == 1700);
  CHECK(splits.validation->size() == 300);
  CHECK(splits.test->size() == 1500);
  CHECK(splits.test->has_distributions());
  CHECK(std::abs(splits.noisy_share - 0.25) < 0.04);
  CHECK(image_shape_of(spec) == Shape{64});
  CHECK(class_names_of(spec) == splits.test->class_names());
  CHECK(identity_fingerprint(*splits.test) == identity_fingerprint(*load_splits(spec, 0).test));
  std::set<std::string> identities{identity_fingerprint(*load_splits(spec, 0).train)};
  const auto differs = [&](auto change) {
    DataSpec other = spec;
    change(other);
    CHECK(identities.insert(identity_fingerprint(*load_splits(other, 0).train)).second);
  };
  differs([](DataSpec& s) { s.labels = "clean"; });
  differs([](DataSpec& s) { s.made.seed = 1; });
  differs([](DataSpec& s) { s.made.width = 32; });
  differs([](DataSpec& s) { s.made.spread = 1; });
  differs([](DataSpec& s) { s.made.confusion = 0.3; });
  differs([](DataSpec& s) { s.made.superclass_size = 4; });

  const auto refusal = [&](auto change) {
    DataSpec other = spec;
    change(other);
    return error_of([&] { load_splits(other, 0); });
  };
  CHECK(one_line_with(refusal([](DataSpec& s) { s.made.classes = 1; }), "data.made.classes", "got 1"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.made.superclass_size = 0; }), "data.made.superclass_size"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.made.width = 0; }), "data.made.width"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.made.train = 0; }), "data.made.train"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.made.test = -1; }), "data.made.test", "got -1"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.made.spread = NAN; }), "data.made.spread"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.made.confusion = 1.5; }), "data.made.confusion", "got 1.5"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.labels = "worst"; }), "known: clean, confused"));
  CHECK(one_line_with(refusal([](DataSpec& s) { s.labels = "clean", s.noise = LabelNoise::pair; }), "noise", "pair"));
  CHECK(one_line_with(error_of([&] { splits.test->image(1500); }), "0 to 1499, got 1500"));
}

TEST_CASE("made embeddings: a class without kin is not confused") {
  const MadeEmbeddings alone({.classes = 7, .superclass_size = 1, .width = 3, .train = 40, .test = 40}, Part::test,
                             true);
  const MadeEmbeddings pair({.classes = 2, .superclass_size = 9, .width = 3, .train = 40, .test = 40}, Part::test,
                            true);
  for (int64_t i = 0; i < 40; ++i) {
    CHECK(alone.distribution(i).data<float>()[alone.label(i)] == 1);
    CHECK(pair.distribution(i).data<float>()[0] + pair.distribution(i).data<float>()[1] == 1);
  }
  const FeatureStatistics statistics = feature_statistics(alone);
  CHECK(statistics.deviation.data<float>()[2] > 0.5f);
}

}  // namespace
}  // namespace sked
