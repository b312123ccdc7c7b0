// Measures against values worked out by hand and by brute force.

#include "apps/common/metrics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/rng.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

Tensor probabilities(const std::vector<float>& values, int64_t classes) {
  return Tensor::from(values, {static_cast<int64_t>(values.size()) / classes, classes});
}
Tensor labels(const std::vector<int64_t>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())});
}

Measures measure(const Tensor& p, const std::vector<int64_t>& y, bool sigmoid = false) {
  MetricsGatherer gatherer(p.dim(1), sigmoid);
  gatherer.add(p, labels(y));
  return gatherer.measures();
}

double brute_force_auroc(const std::vector<double>& positives, const std::vector<double>& negatives) {
  double wins = 0;
  for (double p : positives) {
    for (double n : negatives) wins += p > n ? 1 : p == n ? 0.5 : 0;
  }
  return wins / static_cast<double>(positives.size() * negatives.size());
}

// Sums of a few doubles: relative rounding of a few times 2^-53.
doctest::Approx close(double value) { return doctest::Approx(value).epsilon(1e-12); }

}  // namespace

TEST_CASE("metrics: two predictions by hand") {
  const Measures m = measure(probabilities({0.5f, 0.25f, 0.25f, 0.125f, 0.125f, 0.75f}, 3), {0, 1});
  CHECK(m.count == 2);
  CHECK(m.nll == close((std::log(2) + std::log(8)) / 2));
  CHECK(m.accuracy == 0.5);
  CHECK(m.top5 == 1);  // three classes
  // (.5-1)² + 2·.25² = .375; .125² + (.125-1)² + .75² = 1.34375
  CHECK(m.brier == close((0.375 + 1.34375) / 2));
  // bin 7 of (7/15, 8/15] holds .5, right; bin 11 of (11/15, 12/15] holds .75, wrong
  CHECK(m.bins[7].count == 1);
  CHECK(m.bins[7].accuracy == 1);
  CHECK(m.bins[11].count == 1);
  CHECK(m.bins[11].confidence == 0.75);
  CHECK(m.ece == close((0.5 + 0.75) / 2));
}

TEST_CASE("metrics: gathering in batches is gathering at once") {
  MetricsGatherer parts(2), whole(2);
  const Tensor p = probabilities({0.25f, 0.75f, 0.5f, 0.5f, 0.875f, 0.125f}, 2);
  whole.add(p, labels({0, 1, 0}));
  parts.add(p.rows(0, 2), labels({0, 1}));
  parts.add(p.rows(2, 3), labels({0}));
  parts.add(Tensor::empty({0, 2}), Tensor::empty({0}, DType::i64));
  CHECK(parts.measures().nll == whole.measures().nll);
  CHECK(parts.measures().ece == whole.measures().ece);
  CHECK(parts.measures().count == 3);
}

TEST_CASE("metrics: among equal probabilities the lowest class comes first") {
  const Tensor equal = probabilities(std::vector<float>(8, 0.125f), 8);
  CHECK(measure(equal, {0}).accuracy == 1);
  CHECK(measure(equal, {1}).accuracy == 0);
  CHECK(measure(equal, {4}).top5 == 1);
  CHECK(measure(equal, {5}).top5 == 0);
}

TEST_CASE("metrics: the edges of reliability bins belong to the bin below") {
  const float third = 1.0f / 3;  // just above 5/15 in f32
  const Measures m = measure(probabilities({1, 0, 0.2f, 0.8f, third, 1 - third}, 2), {0, 1, 1});
  CHECK(m.bins[14].count == 1);  // 1 is in the last
  CHECK(m.bins[12].count == 1);  // .8f is just above 12/15
  CHECK(m.bins[9].count == 1);   // 1 - third is just below 10/15
}

TEST_CASE("metrics: a probability that underflowed counts as the smallest float") {
  const Measures m = measure(probabilities({0, 1}, 2), {0});
  CHECK(m.nll == close(149 * std::log(2)));
  CHECK(measure(probabilities({0, 1}, 2), {1}).nll == 0);
  // every positive float is taken as it is
  const float tiny = std::numeric_limits<float>::denorm_min();
  CHECK(measure(probabilities({tiny, 1}, 2), {0}).nll == m.nll);
  CHECK(measure(probabilities({2 * tiny, 1}, 2), {0}).nll < m.nll);
}

TEST_CASE("metrics: the sigmoid link asks K questions") {
  const Measures m = measure(probabilities({0.5f, 0.25f}, 2), {0}, true);
  CHECK(m.nll == close(-std::log(0.5) - std::log(0.75)));
  CHECK(m.brier == close(0.25 + 0.0625));
  CHECK(measure(probabilities({1, 1}, 2), {0}, true).nll == close(25 * std::log(2)));  // 1 − p is at least 2^-25
  CHECK(measure(probabilities({0.25f}, 1), {0}, true).nll == close(std::log(4)));      // one class
}

TEST_CASE("metrics: against label distributions") {
  MetricsGatherer gatherer(3);
  gatherer.add_distributions(probabilities({0.5f, 0.25f, 0.25f, 1, 0, 0}, 3),
                             probabilities({0.5f, 0.5f, 0, 1, 0, 0}, 3));
  const DistributionMeasures m = gatherer.distribution_measures();
  CHECK(m.count == 2);
  CHECK(m.cross_entropy == close((0.5 * std::log(2) + 0.5 * std::log(4)) / 2));  // 0 log 0 = 0
  CHECK(m.entropy == close(std::log(2) / 2));
}

TEST_CASE("metrics: several labels and soft ones") {
  const Tensor p = probabilities({0.5f, 0.125f, 0.375f, 0.25f, 0.5f, 0.25f}, 3);
  const Tensor several = probabilities({0, 1, 1, 0, 0, 1}, 3), soft = probabilities({0.25f, 0.75f, 0, 0, 1, 0}, 3);
  MetricsGatherer multi(3, true), mixed(3);
  multi.add(p, labels({1, 2}), several);
  mixed.add(p, labels({1, 1}), soft);
  // −Σ [t log p + (1−t) log(1−p)] of each image; a true class is first in neither, and always among five
  CHECK(multi.measures().nll ==
        close(-(std::log(0.5) + std::log(0.125) + std::log(0.375) + std::log(0.75) + std::log(0.5) + std::log(0.25)) /
              2));
  CHECK(multi.measures().accuracy == 0);
  CHECK(multi.measures().top5 == 1);
  CHECK(multi.measures().brier == close((0.25 + 0.765625 + 0.390625 + 0.0625 + 0.25 + 0.5625) / 2));
  CHECK(mixed.measures().nll == close(-(0.25 * std::log(0.5) + 0.75 * std::log(0.125) + std::log(0.5)) / 2));
  CHECK(mixed.measures().accuracy == 0.5);  // the greatest target is the true class
  MetricsGatherer first(3, true);
  first.add(p, labels({0, 1}), probabilities({1, 0, 1, 1, 1, 0}, 3));
  CHECK(first.measures().accuracy == 1);  // any of several is right
  CHECK(one_line_with(error_of([&] { first.add(p, labels({0, 1}), probabilities({1, 0}, 2)); }), "targets"));
}

TEST_CASE("metrics: nothing measured is zeros, not a division by zero") {
  const Measures m = MetricsGatherer(3).measures();
  CHECK(m.count == 0);
  CHECK(m.nll == 0);
  CHECK(m.ece == 0);
  CHECK(MetricsGatherer(3).distribution_measures().cross_entropy == 0);
}

TEST_CASE("metrics: what is no prediction is refused") {
  MetricsGatherer gatherer(2);
  const Tensor p = probabilities({0.5f, 0.5f}, 2);
  CHECK(one_line_with(error_of([&] { gatherer.add(p, labels({2})); }), "label in 0 … 1", "got 2"));
  CHECK(one_line_with(error_of([&] { gatherer.add(p, labels({-1})); }), "got -1"));
  CHECK(one_line_with(error_of([&] { gatherer.add(p, labels({0, 1})); }), "labels expected"));
  CHECK(one_line_with(error_of([&] { gatherer.add(probabilities({1}, 1), labels({0})); }), "(B, 2)"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(one_line_with(error_of([&] {
                        gatherer.add(probabilities({nan, 1}, 2), labels({0}));
                      }),
                      "nan", "row 0, class 0"));
  CHECK(one_line_with(error_of([&] { gatherer.add(probabilities({0, 1.5f}, 2), labels({0})); }), "1.5"));
  CHECK(gatherer.measures().count == 0);
}

TEST_CASE("metrics: AUROC equals counting all pairs, ties included") {
  CHECK(auroc({2, 3}, {0, 1}) == 1);
  CHECK(auroc({0}, {1}) == 0);
  CHECK(auroc({1, 1, 1}, {1, 1}) == 0.5);
  Rng rng({7, 7, 7});
  std::vector<double> positives, negatives;
  for (int i = 0; i < 83; ++i) positives.push_back(rng.below(12));  // few values, so many ties
  for (int i = 0; i < 59; ++i) negatives.push_back(rng.below(9));
  CHECK(auroc(positives, negatives) == close(brute_force_auroc(positives, negatives)));
  CHECK(auroc(negatives, positives) == close(1 - auroc(positives, negatives)));
  CHECK(one_line_with(error_of([] { auroc({}, {1}); }), "both sides", "0 and 1"));
  CHECK(one_line_with(error_of([] { auroc({std::nan("")}, {1}); }), "not a number"));
}
