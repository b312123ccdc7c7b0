#pragma once
// A claim judged by the results of its plan.

#include <string>
#include <vector>

#include "apps/replicate/study_results.h"
#include "apps/replicate/verdict.h"

namespace sked {

/// One comparison in one setting.
struct JudgedComparison {
  const ClaimedComparison* claimed;
  std::string setting;
  size_t seeds = 0;        // that both have
  Judgment judgment = {};  // why_open says too what is missing
  double sweep_cost = 0;   // against kSweep: seconds of training of all its heads over those of the head; else 0

  /// `HET-XL - DET, 40 % wrong`: what is compared.
  std::string name() const;
};

struct JudgedClaim {
  const StudyResults* results;
  const Claim* claim;
  std::vector<JudgedComparison> comparisons = {};  // every one that the claim makes
  Counts counts = {};
  Verdict verdict = Verdict::undecided;

  /// Of the intervals that judge: 1 - 0.05/m.
  double level() const;
  /// The metrics compared, each once, in the order of the comparisons.
  std::vector<const Metric*> metrics() const;
};

/// All claims, sorted by their numbers and names.
std::vector<JudgedClaim> judge_claims(const std::vector<StudyResults>& studies);

}  // namespace sked
