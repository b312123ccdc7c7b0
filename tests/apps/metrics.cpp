// Measures against values worked out by hand and by brute force, and against NumPy's, SciPy's and scikit-learn's.

#include "apps/common/measure/metrics.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/common/measure/calibration.h"
#include "apps/common/measure/detection.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/rank_correlation.h"
#include "apps/common/measure/selective.h"
#include "core/rng.h"
#include "core/safetensors.h"
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
  MetricsAccumulator accumulator(p.dim(1), sigmoid);
  accumulator.add(p, labels(y));
  return accumulator.measures();
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

/// f64 against f64 from the same f32 probabilities; scikit-learn takes rows to a sum of one first.
constexpr double kRounding = 1e-6;

/// nll, accuracy, top-5, ECE, Brier.
void check_measures(const Measures& m, const Tensor& expected) {
  const std::vector<double> want = expected.to_vector<double>();
  REQUIRE(want.size() == 5);
  CHECK(m.nll == doctest::Approx(want[0]).epsilon(kRounding));
  CHECK(m.accuracy == doctest::Approx(want[1]).epsilon(kRounding));
  CHECK(m.top5 == doctest::Approx(want[2]).epsilon(kRounding));
  CHECK(m.ece == doctest::Approx(want[3]).epsilon(kRounding));
  CHECK(m.brier == doctest::Approx(want[4]).epsilon(kRounding));
}

/// The first greatest of each row.
Tensor greatest(const Tensor& t) {
  Tensor result = Tensor::empty({t.dim(0)}, DType::i64);
  for (int64_t i = 0; i < t.dim(0); ++i) {
    const float* row = t.data<float>() + i * t.dim(1);
    result.data<int64_t>()[i] = std::max_element(row, row + t.dim(1)) - row;
  }
  return result;
}

}  // namespace

TEST_CASE("metrics: classification as scikit-learn and NumPy measure it") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  for (const std::string rows : {"plain", "awkward"}) {
    CAPTURE(rows);
    MetricsAccumulator accumulator(7);
    accumulator.add(file.at(rows + "/p"), file.at(rows + "/labels"));
    check_measures(accumulator.measures(), file.at(rows + "/measures"));
  }
  MetricsAccumulator shared(7, false, Ties::shared);
  shared.add(file.at("awkward/p"), file.at("awkward/labels"));
  const std::vector<double> want = file.at("awkward/shared").to_vector<double>();
  CHECK(shared.measures().accuracy == doctest::Approx(want[0]).epsilon(kRounding));
  CHECK(shared.measures().top5 == doctest::Approx(want[1]).epsilon(kRounding));
  CHECK(shared.measures().ece == doctest::Approx(want[2]).epsilon(kRounding));
}

TEST_CASE("metrics: soft targets, several labels and distributions as scikit-learn and SciPy measure them") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  for (const std::string kind : {"soft", "sigmoid"}) {
    CAPTURE(kind);
    const Tensor &p = file.at(kind + "/p"), &t = file.at(kind + "/targets");
    MetricsAccumulator accumulator(7, kind == "sigmoid");
    accumulator.add(p, greatest(t), t);
    check_measures(accumulator.measures(), file.at(kind + "/measures"));
  }
  MetricsAccumulator edges(3, true), against(7);
  edges.add(file.at("sigmoid/edges_p"), greatest(file.at("sigmoid/edges_t")), file.at("sigmoid/edges_t"));
  CHECK(edges.measures().nll ==
        doctest::Approx(file.at("sigmoid/edges_nll").to_vector<double>()[0]).epsilon(kRounding));
  against.add_distributions(file.at("soft/p"), file.at("soft/distributions"));
  const std::vector<double> want = file.at("soft/against").to_vector<double>();
  CHECK(against.distribution_measures().cross_entropy == doctest::Approx(want[0]).epsilon(kRounding));
  CHECK(against.distribution_measures().entropy == doctest::Approx(want[1]).epsilon(kRounding));
}

TEST_CASE("detection: AUROC, AUPRC and FPR@95 as scikit-learn measures them, ties included") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  CHECK(auroc(file.at("auroc/positives").to_vector<double>(), file.at("auroc/negatives").to_vector<double>()) ==
        close(file.at("auroc/area").to_vector<double>()[0]));
  for (const std::string name :
       {"plain", "ties", "twenty", "forty", "equal", "apart", "wrong", "single", "one_out", "one_in"}) {
    CAPTURE(name);
    const auto scores = [&](const char* side) { return file.at("detection/" + name + "/" + side).to_vector<double>(); };
    const Detection d = detection(scores("in"), scores("out"));
    const std::vector<double> want = scores("measures");
    CHECK(d.auroc == close(want[0]));
    CHECK(d.auprc == close(want[1]));
    CHECK(d.auprc_in == close(want[2]));
    CHECK(d.fpr95 == close(want[3]));
  }
  CHECK(one_line_with(error_of([] { detection({1}, {}); }), "both sides", "0 and 1"));
  CHECK(one_line_with(error_of([] { detection({std::nan("")}, {1}); }), "not a number"));
}

TEST_CASE("selective: AURC, accuracies by coverage and equal masses as NumPy has them, ties included") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  for (const std::string name : {"plain", "ties", "equal", "right", "wrong", "one", "few"}) {
    CAPTURE(name);
    const std::vector<double> confidence = file.at("selective/" + name + "/confidence").to_vector<double>(),
                              right = file.at("selective/" + name + "/right").to_vector<double>(),
                              want = file.at("selective/" + name + "/measures").to_vector<double>();
    std::vector<Graded> graded, reversed;
    for (size_t i = 0; i < right.size(); ++i) graded.push_back({confidence[i], right[i]});
    reversed.assign(graded.rbegin(), graded.rend());
    for (const std::vector<Graded>& order : {graded, reversed}) {
      const Selective s = selective(order);
      std::vector<double> got{s.aurc, s.e_aurc};
      got.insert(got.end(), s.accuracy.begin(), s.accuracy.end());
      got.insert(got.end(), s.oracle.begin(), s.oracle.end());
      got.push_back(equal_mass_calibration_error(order, kReliabilityBins));
      REQUIRE(got.size() == want.size());
      CHECK(s.count == static_cast<int64_t>(right.size()));
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(got[i] - want[i]) < 1e-12);
      }
    }
  }
  CHECK(selective({}).count == 0);
  CHECK(equal_mass_calibration_error({}, 15) == 0);
}

TEST_CASE("metrics: what is made of the first class is what selective prediction makes of it") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  const Tensor &p = file.at("plain/p"), &y = file.at("plain/labels");
  MetricsAccumulator parts(7);
  for (int64_t begin = 0; begin < p.dim(0); begin += 7) {
    const int64_t end = std::min(begin + 7, p.dim(0));
    parts.add(p.rows(begin, end), y.rows(begin, end));
  }
  std::vector<Graded> graded;
  for (int64_t i = 0; i < p.dim(0); ++i) {
    const float* row = p.data<float>() + i * 7;
    const auto first = std::max_element(row, row + 7);
    graded.push_back({*first, first - row == y.data<int64_t>()[i] ? 1.0 : 0.0});
  }
  const Measures m = parts.measures();
  CHECK(m.selective.count == p.dim(0));
  CHECK(m.selective.aurc == selective(graded).aurc);
  CHECK(m.selective.oracle == selective(graded).oracle);
  CHECK(m.adaptive_ece == equal_mass_calibration_error(graded, 15));
}

TEST_CASE("rank correlation: Spearman's as SciPy has it, ties included") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  const auto values = [&](const std::string& key) { return file.at(key).to_vector<double>(); };
  for (const std::string name : {"plain", "ties", "opposite", "two"}) {
    CAPTURE(name);
    CHECK(rank_correlation(values("ranks/" + name + "/x"), values("ranks/" + name + "/y")) ==
          close(values("ranks/" + name + "/measures")[0]));
  }
  CHECK(average_ranks({3, 1, 3, 2}) == std::vector<double>{3.5, 1, 3.5, 2});
  CHECK(std::isnan(rank_correlation({}, {})));
  CHECK(std::isnan(rank_correlation({1}, {2})));
  CHECK(std::isnan(rank_correlation({1, 2, 3}, {4, 4, 4})));
  CHECK(one_line_with(error_of([] { rank_correlation({1, 2}, {1}); }), "2 and 1"));
  CHECK(one_line_with(error_of([] { rank_correlation({1, std::nan("")}, {1, 2}); }), "not a number"));
}

TEST_CASE("metrics: entropies and predicted noise against those of the distributions, as SciPy correlates them") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  const Tensor &p = file.at("soft/p"), &q = file.at("soft/distributions"), &noise = file.at("soft/noise");
  MetricsAccumulator with(7), without(7);
  for (int64_t begin = 0; begin < p.dim(0); begin += 16) {
    const int64_t end = std::min(begin + 16, p.dim(0));
    with.add_distributions(p.rows(begin, end), q.rows(begin, end), noise.rows(begin, end));
  }
  without.add_distributions(p, q);
  const std::vector<double> want = file.at("soft/correlations").to_vector<double>();
  CHECK(with.distribution_measures().entropy_correlation == close(want[0]));
  CHECK(with.distribution_measures().noise_correlation == close(want[1]));
  CHECK(without.distribution_measures().entropy_correlation == close(want[0]));
  CHECK(std::isnan(without.distribution_measures().noise_correlation));
  CHECK(std::isnan(MetricsAccumulator(7).distribution_measures().entropy_correlation));
  // The same votes for other classes are no more and no less certain, in whatever order they are added.
  const Tensor votes = probabilities({0.1f, 0.2f, 0.3f, 0.4f, 0.4f, 0.1f, 0.3f, 0.2f, 1, 0, 0, 0}, 4);
  MetricsAccumulator ties(4);
  ties.add_distributions(probabilities({0.25f, 0.25f, 0.25f, 0.25f, 0.5f, 0.5f, 0, 0, 1, 0, 0, 0}, 4), votes);
  CHECK(ties.distribution_measures().entropy_correlation == close(std::sqrt(0.75)));
  CHECK(one_line_with(error_of([&] { with.add_distributions(p, q, noise.rows(0, 3)); }), "noise expected"));
}

TEST_CASE("metrics: of each class as scikit-learn has it, with one of no image and one never said") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  const Tensor &p = file.at("classes/p"), &y = file.at("classes/labels");
  MetricsAccumulator accumulator(7);
  for (int64_t begin = 0; begin < p.dim(0); begin += 25) {
    const int64_t end = std::min(begin + 25, p.dim(0));
    accumulator.add(p.rows(begin, end), y.rows(begin, end));
  }
  const std::vector<ClassMeasures> classes = accumulator.class_measures();
  const std::vector<double> want = file.at("classes/measures").to_vector<double>();
  REQUIRE(6 * classes.size() == want.size());
  for (size_t k = 0; k < classes.size(); ++k) {
    CAPTURE(k);
    const ClassMeasures& m = classes[k];
    const double got[] = {
        static_cast<double>(m.count), static_cast<double>(m.predicted), m.recall, m.precision, m.confidence, m.nll};
    for (size_t i = 0; i < 6; ++i) {
      CAPTURE(i);
      const double w = want[6 * k + i];
      CHECK((std::isnan(w) ? std::isnan(got[i]) : got[i] == close(w)));
    }
  }
  CHECK(std::isnan(classes[5].recall));
  CHECK(std::isnan(classes[6].precision));
  accumulator.add(p.rows(0, 1), y.rows(0, 1), Tensor::full({1, 7}, 0.5));  // of no one class
  CHECK(accumulator.class_measures().empty());
}

TEST_CASE("metrics: results are read as they were written, and those of earlier versions without what is newer") {
  const TensorFile file = load_safetensors("tests/fixtures/measures.safetensors");
  MetricsAccumulator accumulator(7);
  accumulator.add(file.at("classes/p"), file.at("classes/labels"));
  accumulator.add_distributions(file.at("soft/p"), file.at("soft/distributions"));
  Evaluation e{.measures = accumulator.measures(),
               .distribution = "human",
               .against = accumulator.distribution_measures(),
               .classes = {},
               .retrieval = {},
               .unseen = {}};
  for (const ClassMeasures& m : accumulator.class_measures()) e.classes.push_back({"a \"name\"", m});
  e.covariance = {.count = 3, .scale = 2, .error = 0.5, .error_shuffled = 0.75};
  Json json = evaluation_json(e, true);
  CHECK(json.at("human").contains("entropy_correlation"));
  CHECK_FALSE(json.at("human").contains("noise_correlation"));  // no head was asked
  CHECK_FALSE(json.at("classes").elements()[5].contains("recall"));
  CHECK(json.dump().find("null") == std::string::npos);
  CHECK(evaluation_json(read_evaluation(json, "test"), true) == json);
  for (const char* key : {"selective", "adaptive_ece", "classes"}) json.erase(key);
  json["human"].erase("entropy_correlation");
  const Evaluation old = read_evaluation(json, "test");
  CHECK(old.measures.nll == e.measures.nll);
  CHECK(old.measures.selective.count == 0);
  CHECK(old.classes.empty());
  CHECK(std::isnan(old.measures.adaptive_ece));
  CHECK(std::isnan(old.against.entropy_correlation));
  CHECK(evaluation_json(old, true) == json);
  json["classes"] = 3;
  CHECK(one_line_with(error_of([&] { read_evaluation(json, "test"); }), "classes: expected a list"));
}

TEST_CASE("metrics: the chance of being among the first") {
  CHECK(chance_among_first(1, 0, 1, 1) == 1);
  CHECK(chance_among_first(1, 1, 1, 1) == 0);
  CHECK(chance_among_first(1, 0, 8, 1) == close(1.0 / 8));
  CHECK(chance_among_first(5, 2, 8, 1) == close(3.0 / 8));
  CHECK(chance_among_first(5, 0, 4, 1) == 1);
  CHECK(chance_among_first(2, 0, 4, 2) == close(1 - 1.0 / 6));  // C(2,2) / C(4,2)
  CHECK(chance_among_first(10, 10, 100, 99) == 0);
  CHECK(chance_among_first(10, 0, 1 << 20, 1 << 19) == close(1 - std::pow(0.5, 10)).epsilon(1e-4));
}

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
  MetricsAccumulator parts(2), whole(2);
  const Tensor p = probabilities({0.25f, 0.75f, 0.5f, 0.5f, 0.875f, 0.125f}, 2);
  whole.add(p, labels({0, 1, 0}));
  parts.add(p.rows(0, 2), labels({0, 1}));
  parts.add(p.rows(2, 3), labels({0}));
  parts.add(Tensor::empty({0, 2}), Tensor::empty({0}, DType::i64));
  CHECK(parts.measures().nll == whole.measures().nll);
  CHECK(parts.measures().ece == whole.measures().ece);
  CHECK(parts.measures().count == 3);
}

TEST_CASE("metrics: among equal probabilities the lowest class comes first, or each as often") {
  const Tensor equal = probabilities(std::vector<float>(8, 0.125f), 8);
  for (int64_t label = 0; label < 8; ++label) {
    MetricsAccumulator shared(8, false, Ties::shared);
    shared.add(equal, labels({label}));
    CHECK(shared.measures().accuracy == close(1.0 / 8));
    CHECK(shared.measures().top5 == close(5.0 / 8));
    CHECK(shared.measures().ece < 1e-12);  // as right as it is sure
  }
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
  MetricsAccumulator accumulator(3);
  accumulator.add_distributions(probabilities({0.5f, 0.25f, 0.25f, 1, 0, 0}, 3),
                                probabilities({0.5f, 0.5f, 0, 1, 0, 0}, 3));
  const DistributionMeasures m = accumulator.distribution_measures();
  CHECK(m.count == 2);
  CHECK(m.cross_entropy == close((0.5 * std::log(2) + 0.5 * std::log(4)) / 2));  // 0 log 0 = 0
  CHECK(m.entropy == close(std::log(2) / 2));
}

TEST_CASE("metrics: several labels and soft ones") {
  const Tensor p = probabilities({0.5f, 0.125f, 0.375f, 0.25f, 0.5f, 0.25f}, 3);
  const Tensor several = probabilities({0, 1, 1, 0, 0, 1}, 3), soft = probabilities({0.25f, 0.75f, 0, 0, 1, 0}, 3);
  MetricsAccumulator multi(3, true), mixed(3);
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
  MetricsAccumulator first(3, true);
  first.add(p, labels({0, 1}), probabilities({1, 0, 1, 1, 1, 0}, 3));
  CHECK(first.measures().accuracy == 1);  // any of several is right
  CHECK(one_line_with(error_of([&] { first.add(p, labels({0, 1}), probabilities({1, 0}, 2)); }), "targets"));
}

TEST_CASE("metrics: there is no measure of nothing") {
  CHECK(one_line_with(error_of([] { MetricsAccumulator(3).measures(); }), "[metrics] expected predictions", "none"));
  CHECK(MetricsAccumulator(3).distribution_measures().count == 0);
}

TEST_CASE("metrics: what is no prediction is refused") {
  MetricsAccumulator accumulator(2);
  const Tensor p = probabilities({0.5f, 0.5f}, 2);
  CHECK(one_line_with(error_of([&] { accumulator.add(p, labels({2})); }), "label in 0 to 1", "got 2"));
  CHECK(one_line_with(error_of([&] { accumulator.add(p, labels({-1})); }), "got -1"));
  CHECK(one_line_with(error_of([&] { accumulator.add(p, labels({0, 1})); }), "labels expected"));
  CHECK(one_line_with(error_of([&] { accumulator.add(probabilities({1}, 1), labels({0})); }), "(B, 2)"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(one_line_with(error_of([&] {
                        accumulator.add(probabilities({nan, 1}, 2), labels({0}));
                      }),
                      "nan", "row 0, class 0"));
  CHECK(one_line_with(error_of([&] { accumulator.add(probabilities({0, 1.5f}, 2), labels({0})); }), "1.5"));
  CHECK(one_line_with(error_of([&] { accumulator.measures(); }), "none"));  // nothing of them was taken
}

TEST_CASE("detection: AUROC equals counting all pairs, ties included") {
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

namespace {

CalibrationSet calibration_set(const Tensor& p, const Tensor& y, const Tensor& targets, bool sigmoid) {
  CalibrationSet set(p.dim(1), sigmoid);
  const auto part = [&](const Tensor& t, int64_t begin, int64_t end) { return t.defined() ? t.rows(begin, end) : t; };
  set.add(part(p, 0, 11), part(y, 0, 11), part(targets, 0, 11));
  set.add(part(p, 11, p.dim(0)), part(y, 11, p.dim(0)), part(targets, 11, p.dim(0)));
  return set;
}

CalibrationFit fit_of(const std::vector<float>& p, const std::vector<int64_t>& y, int64_t classes, bool shift) {
  CalibrationSet set(classes, false);
  set.add(probabilities(p, classes), labels(y));
  return fit_calibration(set, shift);
}

}  // namespace

TEST_CASE("calibration: temperatures, shifts and their NLL as SciPy finds them") {
  const TensorFile file = load_safetensors("tests/fixtures/calibration.safetensors");
  for (const std::string name : {"overconfident", "underconfident", "priors", "two", "missing", "soft", "several",
                                 "sigmoid", "sigmoid_missing", "extreme"}) {
    const Tensor &p = file.at(name + "/p"), &y = file.at(name + "/labels");
    const Tensor t = file.contains(name + "/targets") ? file.at(name + "/targets") : Tensor();
    const bool sigmoid = name.starts_with("sigmoid");
    const CalibrationSet set = calibration_set(p, y, t, sigmoid);
    for (const std::string kind : {"temperature", "shift"}) {
      CAPTURE(name);
      CAPTURE(kind);
      const CalibrationFit fit = fit_calibration(set, kind == "shift");
      const std::vector<double> want = file.at(name + "/" + kind).to_vector<double>();
      REQUIRE(want.size() == 2 + fit.calibration.shift.size());
      CHECK(fit.calibration.temperature == doctest::Approx(want[0]).epsilon(1e-6));
      CHECK(fit.nll == doctest::Approx(want[1]).epsilon(1e-6));
      for (size_t k = 0; k < fit.calibration.shift.size(); ++k)
        CHECK(std::abs(fit.calibration.shift[k] - want[2 + k]) < 1e-6);
      CHECK(!fit.unbounded);
      MetricsAccumulator applied(p.dim(1), sigmoid);  // f32 probabilities, those near 1 of the sigmoid link too
      applied.add(calibrated(p, fit.calibration), y, t);
      CHECK(applied.measures().nll == doctest::Approx(fit.nll).epsilon(1e-6));
    }
  }
}

TEST_CASE("calibration: where no temperature is the best") {
  const std::vector<float> p{0.9f, 0.1f, 0.2f, 0.8f, 0.7f, 0.3f};
  const CalibrationFit right = fit_of(p, {0, 1, 0}, 2, false), wrong = fit_of(p, {1, 0, 1}, 2, false);
  CHECK(right.unbounded);
  CHECK(right.calibration.temperature < 0.03);
  CHECK(right.nll < 1e-12);
  CHECK(wrong.unbounded);
  CHECK(wrong.calibration.temperature == close(kMostTemperature));
  CHECK(wrong.nll == doctest::Approx(std::log(2.0)).epsilon(0.02));
  for (const std::vector<int64_t>& y : {std::vector<int64_t>{0, 1, 0}, {1, 0, 1}, {0, 0, 0}, {0, 1, 1}}) {
    const CalibrationFit fit = fit_of(p, y, 2, true);  // at an end of T the shifts are the best there
    const Tensor q = calibrated(probabilities(p, 2), fit.calibration);
    for (int64_t k = 0; k < 2; ++k) {
      double gradient = fit.calibration.shift[static_cast<size_t>(k)];
      for (int64_t i = 0; i < 3; ++i) gradient += q.data<float>()[2 * i + k] - (y[static_cast<size_t>(i)] == k);
      CHECK(std::abs(gradient) < 1e-6);
    }
  }
  CHECK(fit_of({0.25f, 0.25f, 0.25f, 0.25f}, {2}, 4, false).calibration.temperature == 1);  // all are equal
  CHECK(fit_of({1, 1}, {0, 0}, 1, true).nll == 0);
  CHECK(std::isfinite(fit_of({1, 0, 1, 0, 0, 1}, {1, 0, 1}, 2, true).nll));
  CHECK(one_line_with(error_of([] { fit_calibration(CalibrationSet(2, false), true); }), "expected predictions"));
  CHECK(one_line_with(error_of([] { fit_of({0.5f, 0.5f}, {2}, 2, true); }), "label in 0 to 1, got 2"));
  CHECK(one_line_with(error_of([&] { calibrated(probabilities(p, 2), {.shift = {1, 2, 3}}); }), "2 classes, got 3"));
}
