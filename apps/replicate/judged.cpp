#include "apps/replicate/judged.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>

namespace sked {
namespace {

/// A metric's value by seed, or why there is none.
struct Values {
  std::map<uint64_t, double> of = {};
  std::string missing = {};
};

bool has(const Metric& metric, const Summary& summary) { return metric.has == nullptr || metric.has(summary); }

const Metric& metric_named(const char* key) { return *std::ranges::find(metrics(), std::string(key), &Metric::key); }

Values values_of(const StudyResults& results, const std::string& setting, const std::string& head,
                 const Metric& metric) {
  const StudyCell* found = results.cell(setting, head);
  if (found == nullptr) return {.missing = "no run of " + head + " in " + setting};
  Values values;
  for (const FinishedRun& run : found->cell.runs)
    if (has(metric, run.summary)) values.of[run.plan.seed] = metric.get(run.summary);
  if (values.of.empty()) values.missing = "no " + metric.title + " of " + head + " in " + setting;
  return values;
}

/// Of each seed that all heads of the sweep have, the head's with the lowest held-out NLL.
Values swept_values(const StudyResults& results, const std::string& setting, const Sweep& sweep, const Metric& metric) {
  const Metric& held_out = metric_named("held_out_nll");
  Values best;
  std::map<uint64_t, std::pair<double, size_t>> lowest;  // and how many heads have the seed
  for (const std::string& head : sweep.heads) {
    const Values chosen_by = values_of(results, setting, head, held_out),
                 values = values_of(results, setting, head, metric);
    for (const Values* part : {&chosen_by, &values})
      if (!part->missing.empty()) return *part;
    for (const auto& [seed, value] : values.of) {
      const auto found = chosen_by.of.find(seed);
      if (found == chosen_by.of.end()) continue;
      auto& [nll, heads] = lowest.try_emplace(seed, INFINITY, 0).first->second;
      ++heads;
      if (!best.of.contains(seed) || found->second < nll) nll = found->second, best.of[seed] = value;
    }
  }
  std::erase_if(best.of, [&](const auto& value) { return lowest[value.first].second != sweep.heads.size(); });
  return best;
}

/// By seed: positive where it is as claimed.
Values differences(const StudyResults& results, const std::string& setting, const Claim& claim,
                   const ClaimedComparison& c) {
  const Values ours = values_of(results, setting, c.head, *c.metric);
  const Values theirs = c.than == kSweep && !claim.sweep.heads.empty()
                            ? swept_values(results, setting, claim.sweep, *c.than_metric)
                            : values_of(results, setting, c.than, *c.than_metric);
  for (const Values* part : {&ours, &theirs})
    if (!part->missing.empty()) return {.missing = part->missing};
  const bool lower = c.expect == Expectation::no_worse ? c.metric->lower_is_better : c.expect == Expectation::lower;
  Values result;
  for (const auto& [seed, value] : ours.of)
    if (const auto found = theirs.of.find(seed); found != theirs.of.end())
      result.of[seed] = lower ? found->second - value : value - found->second;
  return result;
}

double seconds_of(const StudyResults& results, const std::string& setting, const std::string& head) {
  const StudyCell* found = results.cell(setting, head);
  return found == nullptr ? std::nan("") : found->cell.of(metric_named("train_seconds")).mean;
}

JudgedComparison judged(const StudyResults& results, const std::string& setting, const Claim& claim,
                        const ClaimedComparison& c, size_t comparisons) {
  JudgedComparison result{.claimed = &c, .setting = setting};
  Values values = differences(results, setting, claim, c);
  if (values.missing.empty() && !c.beyond.empty()) {
    const Values reference = differences(results, c.beyond, claim, c);
    values.missing = reference.missing;
    std::erase_if(values.of, [&](const auto& value) { return !reference.of.contains(value.first); });
    for (auto& [seed, difference] : values.of) difference -= reference.of.at(seed);
  }
  std::vector<double> list;
  if (values.missing.empty())
    for (const auto& [seed, difference] : values.of) list.push_back(difference);
  result.seeds = list.size();
  result.judgment = judge(list, c.expect, c.worth, comparisons);
  if (!values.missing.empty()) result.judgment.why_open = values.missing;
  if (c.than == kSweep && !claim.sweep.heads.empty()) {
    for (const std::string& head : claim.sweep.heads) result.sweep_cost += seconds_of(results, setting, head);
    result.sweep_cost /= seconds_of(results, setting, c.head);
    if (!std::isfinite(result.sweep_cost)) result.sweep_cost = 0;
  }
  return result;
}

JudgedClaim judged_claim(const StudyResults& results, const Claim& claim) {
  JudgedClaim result{.results = &results, .claim = &claim};
  size_t count = 0;
  for (const ClaimedComparison& c : claim.comparisons) count += c.settings.size();
  for (const ClaimedComparison& c : claim.comparisons)
    for (const std::string& setting : c.settings) {
      result.comparisons.push_back(judged(results, setting, claim, c, count));
      result.counts.add(result.comparisons.back().judgment.outcome);
    }
  result.verdict = verdict_of(result.counts);
  return result;
}

}  // namespace

std::string JudgedComparison::name() const {
  const std::string control = claimed->than_metric == claimed->metric ? "" : " (" + claimed->than_metric->title + ")";
  return claimed->head + " − " + claimed->than + control + ", " + setting +
         (claimed->beyond.empty() ? "" : " beyond " + claimed->beyond);
}

double JudgedClaim::level() const { return 1 - 0.05 / static_cast<double>(comparisons.size()); }

std::vector<const Metric*> JudgedClaim::metrics() const {
  std::vector<const Metric*> list;
  for (const JudgedComparison& c : comparisons)
    if (std::ranges::find(list, c.claimed->metric) == list.end()) list.push_back(c.claimed->metric);
  return list;
}

std::vector<JudgedClaim> judge_claims(const std::vector<StudyResults>& studies) {
  std::vector<JudgedClaim> claims;
  for (const StudyResults& results : studies)
    for (const Claim& claim : results.claims) claims.push_back(judged_claim(results, claim));
  const auto place = [](const JudgedClaim& c) {
    const std::string& name = c.claim->claim;
    int64_t number = INT64_MAX;  // behind those that have one
    std::from_chars(name.data(), name.data() + name.size(), number);
    return std::pair(number, name);
  };
  std::ranges::stable_sort(claims, {}, place);
  return claims;
}

}  // namespace sked
