#include "apps/replicate/paired.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <map>

#include "core/text.h"

namespace sked {
namespace {

using RunPairs = std::vector<std::pair<const FinishedRun*, const FinishedRun*>>;

/// Runs of the same seeds.
RunPairs pairs_of(const Cell& a, const Cell& b) {
  RunPairs pairs;
  for (const FinishedRun& run : a.runs) {
    const auto other = std::ranges::find(b.runs, run.plan.seed, [](const FinishedRun& r) { return r.plan.seed; });
    if (other != b.runs.end()) pairs.emplace_back(&run, &*other);
  }
  return pairs;
}

std::optional<PairedHeads::Onset> onset_of(const RunPairs& pairs) {
  std::map<int64_t, std::vector<double>> differences;
  std::map<int64_t, double> epochs;
  for (const auto& [run, other] : pairs) {
    for (const PeriodicEvaluation& here : run->evaluations) {
      const auto there = std::ranges::find(other->evaluations, here.step, &PeriodicEvaluation::step);
      if (there == other->evaluations.end()) continue;
      differences[here.step].push_back(here.nll - there->nll);
      epochs[here.step] = here.epoch;
    }
  }
  std::erase_if(differences, [&](const auto& entry) { return entry.second.size() != pairs.size(); });
  std::optional<PairedHeads::Onset> onset;
  double sign = 0;
  for (auto it = differences.rbegin(); it != differences.rend(); ++it) {
    const Estimate difference = estimate(it->second);
    if (sign == 0) sign = difference.mean;
    if (!excludes_zero(difference) || difference.mean * sign < 0) break;
    onset = {it->first, epochs[it->first]};
  }
  return onset;
}

/// `-0.0035 (-0.0041, -0.0029)`
std::string interval_text(const Estimate& e, const Metric& metric) {
  char text[128];
  std::snprintf(text, sizeof text, "%+.*f (%+.*f, %+.*f)", metric.digits, e.mean * metric.scale, metric.digits,
                (e.mean - e.half_width()) * metric.scale, metric.digits, (e.mean + e.half_width()) * metric.scale);
  return text;
}

std::string onset_text(const std::optional<PairedHeads::Onset>& onset) {
  if (!onset) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%lld (epoch %.3g)", static_cast<long long>(onset->step), onset->epoch);
  return text;
}

/// The heads of one setting.
std::vector<PairedHeads> paired_in(const std::vector<Cell>& cells, size_t setting) {
  std::vector<PairedHeads> result;
  const std::vector<const Cell*> rivals = cells_of_setting(cells, setting);
  for (size_t a = 0; a < rivals.size(); ++a)
    for (size_t b = 0; b < a; ++b) {
      const RunPairs pairs = pairs_of(*rivals[a], *rivals[b]);
      if (pairs.size() < 2) continue;
      PairedHeads heads{setting, rivals[a]->head, rivals[b]->head, {}, onset_of(pairs)};
      for (const Metric* metric : columns_of({rivals[a], rivals[b]})) {
        if (!metric->compared) continue;
        std::vector<double> differences;
        for (const auto& [run, other] : pairs)
          differences.push_back(metric->get(run->summary) - metric->get(other->summary));
        heads.differences.emplace_back(metric, estimate(differences));
      }
      result.push_back(std::move(heads));
    }
  return result;
}

}  // namespace

bool excludes_zero(const Estimate& difference) { return std::abs(difference.mean) > difference.half_width(); }

std::vector<PairedHeads> paired_heads(const Plan& plan, const std::vector<Cell>& cells) {
  std::vector<PairedHeads> result;
  for (size_t s = 0; s < plan.settings.size(); ++s) std::ranges::move(paired_in(cells, s), std::back_inserter(result));
  return result;
}

std::vector<std::vector<std::string>> paired_table(const Plan& plan, const std::vector<Cell>& cells, size_t setting) {
  const std::vector<PairedHeads> pairs = paired_in(cells, setting);
  if (pairs.empty()) return {};
  std::vector<std::vector<std::string>> rows{{"difference"}};
  const std::vector<const Metric*> columns = columns_of(cells_of_setting(cells, setting));
  for (const Metric* metric : columns)
    if (metric->compared) rows[0].push_back(metric->title);
  rows[0].push_back("NLL in training differs from step");
  for (const PairedHeads& p : pairs) {
    std::vector<std::string> row{plan.heads[p.head].name + " - " + plan.heads[p.than].name};
    for (const Metric* column : columns) {
      const auto found = std::ranges::find(p.differences, column, [](const auto& d) { return d.first; });
      if (found != p.differences.end()) row.push_back(interval_text(found->second, *column));
    }
    row.push_back(onset_text(p.onset));
    rows.push_back(std::move(row));
  }
  return rows;
}

Json paired_json(const Plan& plan, const std::vector<Cell>& cells) {
  Json list = Json::array();
  for (const PairedHeads& p : paired_heads(plan, cells)) {
    Json entry = {{"setting", plan.settings[p.setting].name},
                  {"head", plan.heads[p.head].name},
                  {"than", plan.heads[p.than].name}};
    for (const auto& [metric, difference] : p.differences) {
      Json numbers = json_of(difference);
      numbers["interval"] =
          Json::array({difference.mean - difference.half_width(), difference.mean + difference.half_width()});
      entry[metric->key] = std::move(numbers);
    }
    entry["nll_differs_from_step"] = p.onset ? Json(p.onset->step) : Json();
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace sked
