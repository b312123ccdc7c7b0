#include "apps/replicate/results.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "core/text.h"

namespace sked {
namespace {

/// Values of `metric` for the seeds both cells have, in the same order.
std::pair<std::vector<double>, std::vector<double>> paired(const Cell& a, const Cell& b, const Metric& metric) {
  std::pair<std::vector<double>, std::vector<double>> values;
  auto other = b.runs.begin();
  for (const FinishedRun& run : a.runs) {
    while (other != b.runs.end() && other->plan.seed < run.plan.seed) ++other;
    if (other == b.runs.end() || other->plan.seed != run.plan.seed) continue;
    values.first.push_back(metric.get(run.summary));
    values.second.push_back(metric.get(other->summary));
  }
  return values;
}

/// Mean accuracy by `shots` images of each class, over the data sets that few_shot.data asks for; NaN where one lacks
/// it.
double few_shot_accuracy(const Summary& summary, int64_t shots) {
  std::vector<double> accuracies;
  for (const FewShotMeasures& asked : summary.few_shot) {
    const auto found = std::ranges::find(asked.results, shots, &FewShotAccuracy::shots);
    if (found == asked.results.end() || !found->missing.empty()) return std::nan("");
    accuracies.push_back(found->accuracy);
  }
  return accuracies.empty() ? std::nan("") : estimate(accuracies).mean;
}

template <int64_t shots>
Metric few_shot_metric() {
  const std::string count = std::to_string(shots);
  return {"few_shot_" + count,
          count + "-shot %",
          2,
          100,
          false,
          true,
          [](const Summary& s) { return few_shot_accuracy(s, shots); },
          [](const Summary& s) { return !std::isnan(few_shot_accuracy(s, shots)); },
          false};
}

template <double Recalls::*recall>
Metric recall_metric(const char* key, const char* title) {
  return {key,
          title,
          2,
          100,
          false,
          false,
          [](const Summary& s) { return s.test.retrieval.*recall; },
          [](const Summary& s) { return s.test.retrieval.count > 0; }};
}

using Recovery = CovarianceRecovery;

/// A score of the recovered covariance; the control's stand in results.json alone.
template <double Recovery::*score>
Metric covariance_metric(const char* key, const char* title, bool lower_is_better) {
  return {.key = key,
          .title = title,
          .digits = 3,
          .scale = 1,
          .lower_is_better = lower_is_better,
          .compared = false,
          .get = [](const Summary& s) { return s.test.covariance.*score; },
          .has = [](const Summary& s) { return !std::isnan(s.test.covariance.*score); },
          .of_predictions = false,
          .of_some = true,
          .in_tables = !std::string_view(key).ends_with("_shuffled")};
}

}  // namespace

const std::vector<Metric>& metrics() {
  constexpr auto with_distribution = [](const Summary& s) { return !s.test.distribution.empty(); };
  constexpr auto with_selective = [](const Summary& s) { return s.test.measures.selective.count > 0; };
  constexpr auto with_unseen = [](const Summary& s) { return s.test.unseen.count > 0; };
  constexpr auto with_held_out = [](const Summary& s) { return s.weights == "best"; };
  static const std::vector<Metric> list = {
      {"held_out_nll", "held-out NLL", 4, 1, true, true, [](const Summary& s) { return s.best_nll; }, with_held_out,
       false},
      {"nll", "NLL", 4, 1, true, true, [](const Summary& s) { return s.test.measures.nll; }},
      {"accuracy", "accuracy %", 2, 100, false, true, [](const Summary& s) { return s.test.measures.accuracy; }},
      {"ece", "ECE", 4, 1, true, true, [](const Summary& s) { return s.test.measures.ece; }},
      {"adaptive_ece", "adaptive ECE", 4, 1, true, false, [](const Summary& s) { return s.test.measures.adaptive_ece; },
       with_selective},
      {"brier", "Brier", 4, 1, true, false, [](const Summary& s) { return s.test.measures.brier; }},
      {"cross_entropy", "cross-entropy vs p(y|x)", 4, 1, true, true,
       [](const Summary& s) { return s.test.against.cross_entropy; }, with_distribution},
      {"entropy_correlation", "ρ(entropy, p(y|x)'s)", 3, 1, false, false,
       [](const Summary& s) { return s.test.against.entropy_correlation; },
       [](const Summary& s) { return !std::isnan(s.test.against.entropy_correlation); }},
      {"noise_correlation", "ρ(noise, p(y|x)'s entropy)", 3, 1, false, false,
       [](const Summary& s) { return s.test.against.noise_correlation; },
       [](const Summary& s) { return !std::isnan(s.test.against.noise_correlation); }, false, true},
      covariance_metric<&Recovery::correlation>("covariance_correlation", "r(Σ, true Σ)", false),
      covariance_metric<&Recovery::correlation_shuffled>("covariance_correlation_shuffled", "shuffled r(Σ, Σ)", false),
      covariance_metric<&Recovery::error>("covariance_error", "error of Σ", true),
      covariance_metric<&Recovery::error_shuffled>("covariance_error_shuffled", "shuffled error of Σ", true),
      {"aurc", "AURC", 4, 1, true, false, [](const Summary& s) { return s.test.measures.selective.aurc; },
       with_selective},
      {"accuracy_90", "accuracy % at 90 % coverage", 2, 100, false, false,
       [](const Summary& s) { return s.test.measures.selective.accuracy[2]; }, with_selective},
      {"seen_accuracy", "seen classes %", 2, 100, false, false,
       [](const Summary& s) { return s.test.unseen.seen_accuracy; }, with_unseen},
      {"unseen_accuracy", "unseen classes %", 2, 100, false, true,
       [](const Summary& s) { return s.test.unseen.accuracy; }, with_unseen},
      {"unseen_accuracy_between", "unseen, among unseen %", 2, 100, false, true,
       [](const Summary& s) { return s.test.unseen.accuracy_between; }, with_unseen},
      recall_metric<&Recalls::image_to_text_1>("image_to_text_1", "image → text R@1 %"),
      recall_metric<&Recalls::text_to_image_1>("text_to_image_1", "text → image R@1 %"),
      few_shot_metric<1>(),
      few_shot_metric<5>(),
      few_shot_metric<10>(),
      few_shot_metric<25>(),
      few_shot_metric<100>(),
      few_shot_metric<500>(),
      {"temperature", "τ", 3, 1, false, false, [](const Summary& s) { return s.temperature; }, nullptr, false},
      {"params_head_extra", "extra parameters", 0, 1, true, false,
       [](const Summary& s) { return static_cast<double>(s.params_head_extra); }, nullptr, false},
      {"train_seconds", "training s", 1, 1, true, false, [](const Summary& s) { return s.train_seconds; }, nullptr,
       false},
      {"step_ms", "ms a step", 2, 1, true, false,
       [](const Summary& s) { return 1000 * s.train_seconds / static_cast<double>(s.steps); },
       [](const Summary& s) { return s.steps > 0; }, false, false, false},
      {"peak_memory", "peak memory MB", 1, 1, true, false,
       [](const Summary& s) { return 1e-6 * static_cast<double>(s.peak_memory_bytes); },
       [](const Summary& s) { return s.peak_memory_bytes > 0; }, false, false, false},
  };
  return list;
}

Estimate Cell::of(const Metric& metric) const {
  std::vector<double> values;
  for (const FinishedRun& run : runs) values.push_back(metric.get(run.summary));
  return estimate(values);
}

std::string Cell::text(const Metric& metric) const {
  return has(metric) ? of(metric).text(metric.digits, metric.scale) : "-";
}

bool Cell::has(const Metric& metric) const {
  return metric.has == nullptr ||
         std::ranges::all_of(runs, [&](const FinishedRun& r) { return metric.has(r.summary); });
}

std::string FurtherRow::text(const Metric& metric) const {
  std::vector<double> values;
  for (const Evaluation* test : tests) {
    Summary summary;
    summary.test = *test;
    if (!metric.of_predictions || (metric.has != nullptr && !metric.has(summary))) return "-";
    values.push_back(metric.get(summary));
  }
  return estimate(values).text(metric.digits, metric.scale);
}

double Trial::mean_nll() const { return estimate(held_out_nll).mean; }

std::vector<FurtherRow> Cell::further_rows() const {
  std::vector<FurtherRow> rows;
  if (ensemble) rows.push_back({"their ensemble", {&ensemble->test}});
  if (calibrated.empty()) return rows;
  std::vector<double> temperatures;
  rows.emplace_back();
  for (const CalibratedRun& run : calibrated) {
    temperatures.push_back(run.temperature);
    rows.back().tests.push_back(&run.test);
  }
  rows.back().what = "calibrated, T " + estimate(temperatures).text(3);
  return rows;
}

Json Cell::runs_json() const {
  Json list = Json::array();
  for (const FinishedRun& run : runs)
    list.push_back({{"seed", run.plan.seed}, {"folder", run.plan.folder}, {"summary", summary_json(run.summary)}});
  return list;
}

std::vector<Cell> cells_of(const Plan& plan, const std::vector<FinishedRun>& runs) {
  std::vector<Cell> cells;
  for (size_t s = 0; s < plan.settings.size(); ++s)
    for (size_t h = 0; h < plan.heads.size(); ++h) {
      Cell cell{s, h, {}};
      for (const FinishedRun& run : runs)
        if (run.plan.setting == s && run.plan.head == h) cell.runs.push_back(run);
      std::sort(cell.runs.begin(), cell.runs.end(),
                [](const FinishedRun& a, const FinishedRun& b) { return a.plan.seed < b.plan.seed; });
      if (!cell.runs.empty()) cells.push_back(std::move(cell));
    }
  return cells;
}

std::vector<const Cell*> cells_of_setting(const std::vector<Cell>& cells, size_t setting) {
  std::vector<const Cell*> result;
  for (const Cell& cell : cells)
    if (cell.setting == setting) result.push_back(&cell);
  return result;
}

std::vector<const Metric*> columns_of(const std::vector<const Cell*>& cells) {
  std::vector<const Metric*> columns;
  for (const Metric& metric : metrics()) {
    const auto has = [&](const Cell* cell) { return cell->has(metric); };
    if (!metric.in_tables) continue;
    if (metric.of_some ? std::ranges::any_of(cells, has) : std::ranges::all_of(cells, has)) columns.push_back(&metric);
  }
  return columns;
}

bool Comparison::Other::clear() const {
  return difference.count > 1 && std::abs(difference.mean) > 2 * difference.standard_error;
}

std::vector<Comparison> comparisons(const Plan& plan, const std::vector<Cell>& cells) {
  std::vector<Comparison> result;
  for (size_t s = 0; s < plan.settings.size(); ++s) {
    const std::vector<const Cell*> rivals = cells_of_setting(cells, s);
    if (rivals.size() < 2) continue;
    for (const Metric* column : columns_of(rivals)) {
      const Metric& metric = *column;
      if (!metric.compared) continue;
      const auto better = [&](const Cell* a, const Cell* b) {
        return metric.lower_is_better ? a->of(metric).mean < b->of(metric).mean
                                      : a->of(metric).mean > b->of(metric).mean;
      };
      const Cell* best = *std::min_element(rivals.begin(), rivals.end(), better);
      Comparison comparison{s, best->head, &metric, {}};
      for (const Cell* cell : rivals) {
        if (cell == best) continue;
        const auto [theirs, bests] = paired(*cell, *best, metric);
        std::vector<double> differences;
        for (size_t i = 0; i < theirs.size(); ++i) differences.push_back(theirs[i] - bests[i]);
        comparison.others.push_back({cell->head, estimate(differences)});
      }
      result.push_back(std::move(comparison));
    }
  }
  return result;
}

std::string sentence(const Plan& plan, const std::vector<Cell>& cells, const Comparison& c) {
  std::string text = plan.settings[c.setting].name + ": " + plan.heads[c.best].name + " has the " +
                     (c.metric->lower_is_better ? "lowest " : "highest ") + c.metric->title;
  for (const Cell& cell : cells)
    if (cell.setting == c.setting && cell.head == c.best)
      text += ", " + cell.of(*c.metric).text(c.metric->digits, c.metric->scale);
  for (const Comparison::Other& other : c.others) {
    text += "; " + plan.heads[other.head].name + (other.difference.mean >= 0 ? " +" : " ") +
            other.difference.text(c.metric->digits, c.metric->scale);
    if (!other.clear()) text += other.difference.count > 1 ? " (within noise)" : " (one seed: may be noise)";
  }
  return text;
}

std::string measured_on(const std::vector<const Cell*>& rows) {
  if (rows.front()->runs.front().summary.measured == "test") return "";
  return "Measured on images held out from training, with the last weights: there are no test images.";
}

std::string data_warning(const Plan& plan, const std::vector<const Cell*>& rows) {
  const FinishedRun& first = rows.front()->runs.front();
  const auto called = [&](const FinishedRun& run, int64_t images) {
    return plan.heads[run.plan.head].name + ", seed " + std::to_string(run.plan.seed) + " (" + std::to_string(images) +
           " images)";
  };
  const auto differ = [](const std::string& a, const std::string& b) { return !a.empty() && !b.empty() && a != b; };
  const std::string end = " were not. Means and differences mix both; --fresh trains all of them again.";
  for (const Cell* cell : rows) {
    for (const FinishedRun& run : cell->runs) {
      RunConfig here = run.plan.config, there = first.plan.config;
      const bool same = differing_fields(fields_of(here.data), fields_of(there.data)).empty();
      if (!same) continue;
      const Summary &a = first.summary, &b = run.summary;
      if (differ(a.training_data, b.training_data))
        return "Not all of these runs were trained on the same images: " + called(first, a.training_images) + " and " +
               called(run, b.training_images) + end;
      if (differ(a.measured_data, b.measured_data))
        return "Not all of these runs were measured on the same images: " + called(first, a.test.measures.count) +
               " and " + called(run, b.test.measures.count) + end;
    }
  }
  return "";
}

}  // namespace sked
