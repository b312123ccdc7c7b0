// The rule of a study, at its borders.

#include "apps/replicate/verdict.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace sked;

namespace {

/// Four differences of that mean and standard error.
std::vector<double> differences(double mean, double error) {
  std::vector<double> list;
  for (const double z : {-1.5, 0.5, -0.5, 1.5}) list.push_back(mean + error * z * 2 / std::sqrt(5.0 / 3));
  return list;
}

/// Is the mean just on this side of a border `at` this outcome, and just beyond it at the other?
void check_border(double at, Expectation expectation, double worth, size_t comparisons, Outcome above, Outcome below) {
  CAPTURE(at);
  CHECK(judge(differences(at + 1e-9, 0.5), expectation, worth, comparisons).outcome == above);
  CHECK(judge(differences(at - 1e-9, 0.5), expectation, worth, comparisons).outcome == below);
}

}  // namespace

TEST_CASE("verdict: Student's t at any probability is SciPy's") {
  struct Value {
    double probability;
    int64_t degrees;
    double t;
  };
  // scipy.stats.t.ppf((1 + probability) / 2, degrees)
  for (const Value& v : {Value{0.95, 1, 12.706204736174694},
                         {0.95, 4, 2.7764451051977934},
                         {0.6, 1, 1.3763819204711738},
                         {0.6, 9, 0.8834038596855346},
                         {0.99, 2, 9.924843200918287},
                         {1 - 0.05 / 3, 4, 3.9607864827701835},
                         {1 - 0.05 / 48, 9, 4.751727941985726},
                         {0.9999, 9, 6.593682583944882},
                         {0.5, 30, 0.6827556933212927},
                         {0.9999, 1, 6366.197671316637}})
    CHECK(student_t(v.probability, v.degrees) == doctest::Approx(v.t).epsilon(1e-9));
}

TEST_CASE("verdict: a comparison by its interval at 1 - 0.05/m, on each side of every border") {
  for (const size_t m : {size_t{1}, size_t{7}}) {
    const double half = student_t(1 - 0.05 / static_cast<double>(m), 3) * 0.5, wide = 2 * half;
    for (const Expectation e : {Expectation::lower, Expectation::higher}) {
      check_border(half, e, 0, m, Outcome::as_claimed, Outcome::open);
      check_border(-half, e, 0, m, Outcome::open, Outcome::other_way);
      check_border(wide - half, e, wide - 1e-6, m, Outcome::as_claimed, Outcome::open);
      check_border(0.4 * half, e, 1.4 * half, m, Outcome::open, Outcome::no_difference);
      check_border(-0.4 * half, e, 1.4 * half, m, Outcome::no_difference, Outcome::open);
    }
    check_border(half - 0.1, Expectation::no_worse, 0.1, m, Outcome::as_claimed, Outcome::open);
    check_border(-half - 0.1, Expectation::no_worse, 0.1, m, Outcome::open, Outcome::other_way);
    const Judgment j = judge(differences(3, 0.5), Expectation::lower, 0, m);
    CHECK(j.difference.mean == doctest::Approx(3));
    CHECK(j.half == doctest::Approx(half));
    CHECK(j.half_95 == doctest::Approx(0.5 * 3.182446305284263));
    CHECK(j.detectable == doctest::Approx(half + 0.5 * 0.9784723123633045));  // scipy.stats.t.ppf(0.8, 3)
  }
}

TEST_CASE("verdict: differences that do not vary have an interval of no width") {
  for (const Expectation e : {Expectation::lower, Expectation::no_worse}) {
    CHECK(judge({0.5, 0.5}, e, 0.1, 3).outcome == Outcome::as_claimed);
    CHECK(judge({-0.5, -0.5, -0.5}, e, 0.1, 3).outcome == Outcome::other_way);
  }
  CHECK(judge({0, 0, 0}, Expectation::lower, 0, 3).outcome == Outcome::no_difference);
  CHECK(judge({0, 0, 0}, Expectation::no_worse, 0.1, 3).outcome == Outcome::as_claimed);
  CHECK(judge({0, 0, 0}, Expectation::lower, 0, 3).detectable == 0);
}

TEST_CASE("verdict: what cannot be judged is open, and why") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const Expectation e : {Expectation::lower, Expectation::no_worse}) {
    CHECK(judge({}, e, 1, 1).why_open == "no common seed");
    CHECK(judge({5}, e, 1, 1).why_open == "one common seed");
    CHECK(judge({5, std::nan("")}, e, 1, 1).why_open == "a value is not finite");
    CHECK(judge({5, kInfinity, 5}, e, 1, 1).why_open == "a value is not finite");
    CHECK(judge({1e308, -1e308}, e, 1, 1).why_open == "values are too large");
    for (const std::vector<double>& list : {std::vector<double>{}, {5}, {5, std::nan("")}, {1e308, -1e308}})
      CHECK(judge(list, e, 1, 1).outcome == Outcome::open);
  }
}

TEST_CASE("verdict: a claim by the counts of its comparisons") {
  struct Case {
    Counts counts;  // as claimed, the other way, no difference, open
    Verdict verdict;
  };
  for (const auto& [counts, verdict] : {Case{{1, 0, 0, 0}, Verdict::replicated},
                                        {{3, 0, 0, 1}, Verdict::replicated},
                                        {{2, 0, 0, 2}, Verdict::undecided},
                                        {{2, 0, 0, 1}, Verdict::replicated},
                                        {{4, 1, 0, 0}, Verdict::replicated},
                                        {{3, 1, 0, 0}, Verdict::undecided},
                                        {{2, 1, 0, 1}, Verdict::undecided},
                                        {{1, 1, 0, 0}, Verdict::not_replicated},
                                        {{1, 1, 0, 5}, Verdict::not_replicated},
                                        {{0, 1, 0, 9}, Verdict::not_replicated},
                                        {{0, 0, 2, 2}, Verdict::undecided},
                                        {{0, 0, 3, 2}, Verdict::not_replicated},
                                        {{2, 0, 2, 0}, Verdict::undecided},
                                        {{5, 3, 6, 3}, Verdict::not_replicated},
                                        {{5, 3, 5, 3}, Verdict::undecided},
                                        {{0, 0, 0, 1}, Verdict::undecided}}) {
    CAPTURE(counts.as_claimed);
    CAPTURE(counts.other_way);
    CHECK(verdict_of(counts) == verdict);
  }
}
