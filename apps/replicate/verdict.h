#pragma once
// The rule of a study: what a comparison of two heads over seeds says of a claim, and what all of a claim's say.

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "apps/common/measure/estimate.h"
#include "core/names.h"

namespace sked {

/// What is claimed of a head's metric, against another's.
enum class Expectation { lower, higher, no_worse };
constexpr std::array<const char*, 3> names_of(Expectation) { return {"lower", "higher", "no worse"}; }

enum class Outcome { as_claimed, other_way, no_difference, open };
constexpr std::array<const char*, 4> names_of(Outcome) {
  return {"as claimed", "the other way", "no difference", "open"};
}

/// One comparison; all numbers in the metric's unit, differences positive where they are as claimed.
struct Judgment {
  Estimate difference;              // over the seeds that both have
  double half_95 = 0;               // half of its 95 % interval
  double half = 0;                  // half of its interval at 1 - 0.05/m
  double detectable = 0;            // the smallest difference that such an interval sees with 80 % power
  Outcome outcome = Outcome::open;  // by the second interval
  std::string why_open = {};        // where there is no interval: `one common seed`
};

/// Of `differences`, one a seed, in a claim of m = `comparisons`. With low and high the ends of the interval at
/// 1 - 0.05/m (Bonferroni):
///
///   lower, higher   low > 0: as claimed; high < 0: the other way; |low|, |high| ≤ worth: no difference; else open
///   no worse        low > -worth: as claimed; high < -worth: the other way; else open
///
/// Fewer than two differences, and such that are not finite, leave it open.
Judgment judge(const std::vector<double>& differences, Expectation expectation, double worth, size_t comparisons);

/// How many comparisons of a claim came out how.
struct Counts {
  size_t as_claimed = 0, other_way = 0, no_difference = 0, open = 0;
  size_t all() const { return as_claimed + other_way + no_difference + open; }
  void add(Outcome outcome);
};

enum class Verdict { replicated, not_replicated, undecided };
constexpr std::array<const char*, 3> names_of(Verdict) {
  return {"replicated", "not replicated", "undecided at this size"};
}

/// Of n comparisons. Replicated: as_claimed - other_way > n/2. Not replicated: other_way + no_difference > n/2, or
/// other_way > 0 and other_way ≥ as_claimed. Else undecided at this size.
Verdict verdict_of(const Counts& counts);

}  // namespace sked
