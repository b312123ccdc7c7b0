#include "apps/replicate/verdict.h"

#include <algorithm>
#include <cmath>

namespace sked {
namespace {

constexpr double kError = 0.05, kPower = 0.8;

Outcome outcome_of(double low, double high, Expectation expectation, double worth) {
  if (expectation == Expectation::no_worse)
    return low > -worth ? Outcome::as_claimed : high < -worth ? Outcome::other_way : Outcome::open;
  if (low > 0) return Outcome::as_claimed;
  if (high < 0) return Outcome::other_way;
  return low >= -worth && high <= worth ? Outcome::no_difference : Outcome::open;
}

}  // namespace

Judgment judge(const std::vector<double>& differences, Expectation expectation, double worth, size_t comparisons) {
  Judgment result;
  result.difference = estimate(differences);
  if (differences.size() < 2) {
    result.why_open = differences.empty() ? "no common seed" : "one common seed";
  } else if (!std::ranges::all_of(differences, [](double d) { return std::isfinite(d); })) {
    result.why_open = "a value is not finite";
  } else if (!std::isfinite(result.difference.mean) || !std::isfinite(result.difference.standard_error)) {
    result.why_open = "values are too large";
  }
  if (!result.why_open.empty()) return result;
  const double level = 1 - kError / static_cast<double>(comparisons);
  const Estimate& d = result.difference;
  result.half_95 = d.half_width();
  result.half = d.half_width(level);
  // A one-sided quantile at 0.8 leaves 0.2 on each of two sides.
  result.detectable = result.half + d.half_width(2 * kPower - 1);
  result.outcome = outcome_of(d.mean - result.half, d.mean + result.half, expectation, worth);
  return result;
}

void Counts::add(Outcome outcome) {
  ++(outcome == Outcome::as_claimed      ? as_claimed
     : outcome == Outcome::other_way     ? other_way
     : outcome == Outcome::no_difference ? no_difference
                                         : open);
}

Verdict verdict_of(const Counts& counts) {
  const size_t n = counts.all(), claimed = counts.as_claimed, other = counts.other_way;
  if (2 * claimed > n + 2 * other) return Verdict::replicated;
  if (2 * (other + counts.no_difference) > n || (other > 0 && other >= claimed)) return Verdict::not_replicated;
  return Verdict::undecided;
}

}  // namespace sked
