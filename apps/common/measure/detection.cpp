#include "apps/common/measure/detection.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace sked {
namespace {

/// How many examples of either side have one and the same score.
struct Tied {
  double negatives = 0, positives = 0;
};

/// By ascending score.
std::vector<Tied> tied_scores(const std::vector<double>& positives, const std::vector<double>& negatives) {
  require(!positives.empty() && !negatives.empty(), "auroc", "expected scores on both sides, got ", positives.size(),
          " and ", negatives.size());
  std::vector<std::pair<double, bool>> scores;  // score, is it a positive
  scores.reserve(positives.size() + negatives.size());
  for (double s : positives) scores.emplace_back(s, true);
  for (double s : negatives) scores.emplace_back(s, false);
  for (const auto& [score, positive] : scores) require(!std::isnan(score), "auroc", "a score is not a number");
  std::sort(scores.begin(), scores.end());
  std::vector<Tied> groups;
  for (size_t begin = 0, end = 0; begin < scores.size(); begin = end) {
    Tied& group = groups.emplace_back();
    for (; end < scores.size() && scores[end].first == scores[begin].first; ++end)
      ++(scores[end].second ? group.positives : group.negatives);
  }
  return groups;
}

double area_under_roc(const std::vector<Tied>& groups) {
  double wins = 0, below = 0, positives = 0;  // below: negatives under the current score
  for (const Tied& g : groups) {
    wins += g.positives * (below + 0.5 * g.negatives);
    below += g.negatives;
    positives += g.positives;
  }
  return wins / (positives * below);
}

/// Groups from the one that is called positive first.
template <class Iterator>
double average_precision(Iterator begin, Iterator end, double Tied::*positive, double Tied::*negative) {
  double area = 0, right = 0, wrong = 0;
  for (auto g = begin; g != end; ++g) {
    right += (*g).*positive;
    wrong += (*g).*negative;
    area += (*g).*positive * right / (right + wrong);
  }
  return area / right;
}

}  // namespace

double auroc(const std::vector<double>& positives, const std::vector<double>& negatives) {
  return area_under_roc(tied_scores(positives, negatives));
}

Detection detection(const std::vector<double>& in, const std::vector<double>& out) {
  const std::vector<Tied> groups = tied_scores(out, in);
  Detection d;
  d.auroc = area_under_roc(groups);
  d.auprc = average_precision(groups.rbegin(), groups.rend(), &Tied::positives, &Tied::negatives);
  d.auprc_in = average_precision(groups.begin(), groups.end(), &Tied::negatives, &Tied::positives);
  double kept = 0, passed = 0;  // of those in distribution, and out of it
  for (auto g = groups.begin(); 100 * kept < 95 * static_cast<double>(in.size()); ++g) {
    kept += g->negatives;
    passed += g->positives;
  }
  d.fpr95 = passed / static_cast<double>(out.size());
  return d;
}

}  // namespace sked
