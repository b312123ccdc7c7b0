#pragma once
// What a plan claims before it is run: questions, and the comparisons that answer them.

#include <string>
#include <vector>

#include "apps/replicate/verdict.h"

namespace sked {

struct Metric;
struct Plan;

/// One comparison in each of some settings: a head against another.
struct ClaimedComparison {
  std::string head, than;  // names of heads; `than` may be kSweep
  std::string metric_key;  // of metrics()
  const Metric* metric = nullptr;
  std::string than_metric_key = {};     // of `than`, where it is another: a control; then `than` may be `head`
  const Metric* than_metric = nullptr;  // `metric` where no other is named
  Expectation expect = Expectation::lower;
  double worth = 0;  // the smallest difference that matters, in the metric's own unit (accuracy: of 1)
  std::vector<std::string> settings = {};
  std::string beyond = {};  // not empty: a setting whose difference is taken from that of each other
};

/// As `than`: of each seed the head of the sweep with the lowest held-out NLL.
inline constexpr const char* kSweep = "sweep";

/// Heads that differ in one value, which another head learns.
struct Sweep {
  std::vector<std::string> heads = {};
  std::vector<double> values = {};  // of each head
  std::string label = {};
};

enum class Figure { forest, sweep, cost, covariance, reliability, images };
constexpr std::array<const char*, 6> names_of(Figure) {
  return {"forest", "sweep", "cost", "covariance", "reliability", "images"};
}

struct Claim {
  std::string claim;  // `1`: a short name
  std::string title, question;
  std::string expectation;            // in words, as stated before running
  std::vector<std::string> settings;  // those looked at
  std::vector<ClaimedComparison> comparisons;
  Sweep sweep = {};
  std::vector<Figure> figures = {};
};

/// A plan's `study`: {"claims": [{"claim", "title", "question", "expectation", "comparisons": [{"head", "than",
/// "metric", "than_metric", "expect", "worth", "settings", "beyond"} …], "settings", "sweep": {"heads", "values",
/// "label"}, "figures"} …]}. Settings that are left out are the claim's, and the claim's those of the plan; figures
/// that are left out are a forest plot. None where the plan has no study. Throws UsageError naming the plan's path
/// and the key for what is unknown (with the nearest), missing, of another type or out of its range.
std::vector<Claim> claims_of(const Plan& plan);

}  // namespace sked
