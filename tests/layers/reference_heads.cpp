// Our heads, with the options that make their noise the reference layers', against those layers themselves
// (tests/fixtures/reference_heads.py): Monte Carlo estimates of both sides, so each difference is judged by its
// standard error.

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <map>

#include "core/safetensors.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

constexpr int64_t kRows = 4, kWidth = 5, kClasses = 4, kPart = 4000;

/// Parts of kPart samples each: 100,000 samples, or SKEDASTIC_PARTS=100 for the reference's 400,000.
uint64_t parts() {
  const char* asked = std::getenv("SKEDASTIC_PARTS");
  return asked ? std::strtoull(asked, nullptr, 10) : 25;
}

HeadConfig reference_config(HeadKind kind, Factors factors, Link link, bool reference) {
  HeadConfig config = head_config(kind, factors, link);
  config.train_samples = kPart;
  if (reference) like_reference(config.noise);
  return config;
}

/// Mean and its squared standard error, of parts that are added one by one.
struct Average {
  std::vector<double> sum, squares;
  int64_t count = 0;

  void add(const Tensor& part) {
    const std::vector<double> x = part.to_vector<double>();
    sum.resize(x.size()), squares.resize(x.size());
    for (size_t i = 0; i < x.size(); ++i) sum[i] += x[i], squares[i] += x[i] * x[i];
    ++count;
  }
  double mean(size_t i) const { return sum[i] / static_cast<double>(count); }
  double error2(size_t i) const {
    const auto n = static_cast<double>(count);
    return std::max(0.0, squares[i] / n - mean(i) * mean(i)) / (n - 1);
  }
};

/// By name, `predict` and `grad/…`: what a head makes of the fixture's batch.
std::map<std::string, Average> averages(Head& head, const TensorFile& file, Link link, uint64_t parts) {
  Targets targets;
  (link == Link::softmax ? targets.labels : targets.distributions) =
      file.at(link == Link::softmax ? "labels" : "multi_label");
  std::map<std::string, Average> result;
  Context context{.training = true, .seed = 0, .step = 0, .examples = first_examples(kRows)};
  for (context.seed = 0; context.seed < parts; ++context.seed) {
    result["predict"].add(head.predict(file.at("phi"), kPart, context));
    const Var phi(file.at("phi"), true);
    for (NamedVar& p : head.parameters()) p.var.clear_grad();
    head.loss(phi, targets, context).backward();
    result["grad/phi"].add(phi.grad());
    for (const NamedVar& p : head.parameters()) result["grad/" + p.name].add(p.var.grad());
  }
  return result;
}

struct Squares {
  double sum = 0;
  int64_t count = 0;
  double rms() const { return std::sqrt(sum / static_cast<double>(count)); }
};

/// Adds to `squares` the z of each number that both sides have: those whose error is no mere rounding.
void compare(const Average& ours, const Tensor& theirs, const Tensor& error, Squares& squares) {
  const std::vector<double> want = theirs.to_vector<double>(), e = error.to_vector<double>();
  REQUIRE(ours.sum.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const double variance = ours.error2(i) + e[i] * e[i];
    if (variance < 1e-14) continue;
    squares.sum += std::pow(ours.mean(i) - want[i], 2) / variance;
    ++squares.count;
  }
}

struct Comparison {
  Squares probabilities, gradients;
};

Comparison compare_all(bool reference, uint64_t parts) {
  const TensorFile file = load_safetensors("tests/fixtures/reference_heads.safetensors");
  Comparison total;
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    for (const Factors factors : {Factors::full, Factors::efficient}) {
      for (const Link link : {Link::softmax, Link::sigmoid}) {
        Init init(7);
        const std::unique_ptr<Head> head =
            make_head(reference_config(kind, factors, link, reference), kWidth, kClasses, init);
        set_hash_parameters(*head);
        const std::string prefix = name_of(kind) + "/" + name_of(factors) + "/" + name_of(link) + "/";
        for (const auto& [name, average] : averages(*head, file, link, parts))
          compare(average, file.at(prefix + name), file.at(prefix + name + "/error"),
                  name == "predict" ? total.probabilities : total.gradients);
      }
    }
  }
  return total;
}

}  // namespace

TEST_CASE("reference layers: with shared noise and a bias of the factors, their probabilities and gradients") {
  const Comparison c = compare_all(true, parts());
  MESSAGE("rms z of " << c.probabilities.count << " probabilities " << c.probabilities.rms() << ", of "
                      << c.gradients.count << " gradients " << c.gradients.rms());
  CHECK(c.probabilities.count == 8 * kRows * kClasses);
  CHECK(c.gradients.count > 600);
  for (const double rms : {c.probabilities.rms(), c.gradients.rms()}) {
    CHECK(rms > 0.8);
    CHECK(rms < 1.2);
  }
}

TEST_CASE("reference layers: with the papers' noise, clearly others") {
  const Comparison c = compare_all(false, 5);
  MESSAGE("rms z of probabilities " << c.probabilities.rms() << ", of gradients " << c.gradients.rms());
  CHECK(c.probabilities.rms() > 5);
  CHECK(c.gradients.rms() > 5);
}

}  // namespace sked::test
