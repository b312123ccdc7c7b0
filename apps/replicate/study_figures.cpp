#include "apps/replicate/study_figures.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "apps/common/measure/heat_map.h"
#include "apps/common/measure/html.h"
#include "apps/replicate/chart.h"
#include "apps/replicate/page.h"
#include "apps/replicate/reliability.h"
#include "apps/replicate/svg.h"
#include "core/text.h"

namespace sked {
namespace {

/// The first eight side by side, the others folded.
std::string framed(const char* frame, const std::vector<std::string>& figures) {
  constexpr size_t kShown = 8;
  std::string shown, others;
  for (size_t i = 0; i < figures.size(); ++i) (i < kShown ? shown : others) += figures[i];
  const auto in_frame = [&](const std::string& list) {
    return list.empty() ? "" : "<div class=\"" + std::string(frame) + "\">\n" + list + "</div>\n";
  };
  return in_frame(shown) +
         (others.empty() ? "" : folded(std::to_string(figures.size() - kShown) + " more", in_frame(others)));
}

/// Where the claimed side of a comparison begins.
double claimed_from(const ClaimedComparison& c) { return c.expect == Expectation::no_worse ? -c.worth : 0; }

/// One for each metric and claimed side.
std::string forests(const JudgedClaim& claim) {
  std::vector<std::string> figures;
  std::vector<std::pair<const Metric*, double>> done;
  for (const JudgedComparison& first : claim.comparisons) {
    const Metric& metric = *first.claimed->metric;
    const auto kind = std::pair(&metric, claimed_from(*first.claimed));
    if (std::ranges::find(done, kind) != done.end()) continue;
    done.push_back(kind);
    Forest forest{.title = "Paired differences in " + metric.title, .claimed_from = kind.second * metric.scale};
    for (const JudgedComparison& c : claim.comparisons) {
      if (std::pair(c.claimed->metric, claimed_from(*c.claimed)) != kind) continue;
      const Judgment& j = c.judgment;
      forest.rows.push_back({.label = c.name(),
                             .outcome = name_of(j.outcome),
                             .mean = j.difference.mean * metric.scale,
                             .half_95 = j.half_95 * metric.scale,
                             .half = j.half * metric.scale,
                             .drawn = j.why_open.empty()});
    }
    figures.push_back(forest_svg(forest));
  }
  return framed("charts", figures);
}

void add_point(Series& series, double x, const Cell& cell, const Metric& metric) {
  const Estimate e = cell.of(metric);
  series.x.push_back(x);
  series.y.push_back(e.mean * metric.scale);
  series.error.push_back(e.standard_error * metric.scale);
}

/// In one setting: the swept heads, and those compared with them where they learned the value to be.
std::string sweep(const JudgedClaim& claim, const std::string& setting, const Metric& metric) {
  const StudyResults& results = *claim.results;
  const Sweep& swept = claim.claim->sweep;
  const bool log = std::ranges::all_of(swept.values, [](double value) { return value > 0; });
  Plot plot{.title = setting, .x_label = swept.label, .y_label = metric.title, .series = {{.name = "sweep"}}};
  std::vector<std::pair<double, const Cell*>> points;
  for (size_t i = 0; i < swept.heads.size(); ++i)
    if (const StudyCell* found = results.cell(setting, swept.heads[i]); found && found->cell.has(metric))
      points.emplace_back(swept.values[i], &found->cell);
  std::ranges::sort(points);
  if (points.empty()) return "";
  for (const auto& [value, cell] : points) add_point(plot.series[0], value, *cell, metric);
  const std::string label = lower_case(swept.label);
  const bool of_temperature = label.find("temperature") != label.npos || label.find("τ") != label.npos;
  const Metric& learned = *std::ranges::find(metrics(), std::string("temperature"), &Metric::key);
  for (const ClaimedComparison& c : claim.claim->comparisons) {
    if (c.than != kSweep || std::ranges::find(plot.series, c.head, &Series::name) != plot.series.end()) continue;
    const StudyCell* found = results.cell(setting, c.head);
    if (!found || !found->cell.has(metric)) continue;
    Series series{.name = c.head};
    if (of_temperature)
      add_point(series, found->cell.of(learned).mean, found->cell, metric);
    else  // level with the curve: results do not say what another learned value is
      for (const double x : {points.front().first, points.back().first}) add_point(series, x, found->cell, metric);
    plot.series.push_back(std::move(series));
  }
  return chart_svg(plot, {.x = log});
}

std::string sweeps(const JudgedClaim& claim) {
  std::vector<std::string> figures;
  for (const Metric* metric : claim.metrics()) {
    const auto against = [&](const ClaimedComparison& c) { return c.metric == metric && c.than == kSweep; };
    if (std::ranges::none_of(claim.claim->comparisons, against)) continue;
    for (const std::string& setting : claim.claim->settings)
      if (std::string drawn = sweep(claim, setting, *metric); !drawn.empty()) figures.push_back(std::move(drawn));
  }
  return framed("charts", figures);
}

/// The number behind a K of its own in a setting's name, else the first: `K = 1,000`.
std::optional<double> classes_of(const std::string& setting) {
  const auto digit = [&](size_t i) { return i < setting.size() && setting[i] >= '0' && setting[i] <= '9'; };
  const auto letter = [&](size_t i) { return std::isalpha(static_cast<unsigned char>(setting[i])) != 0; };
  size_t at = 0;
  for (size_t i = 0; i < setting.size(); ++i)
    if (setting[i] == 'K' && (i == 0 || !letter(i - 1)) && (i + 1 == setting.size() || !letter(i + 1))) at = i;
  while (at < setting.size() && !digit(at)) ++at;
  std::string number;
  for (; digit(at) || (at < setting.size() && setting[at] == ',' && digit(at + 1)); ++at)
    if (digit(at)) number += setting[at];
  if (number.empty()) return {};
  return std::strtod(number.c_str(), nullptr);
}

std::string costs(const JudgedClaim& claim) {
  const StudyResults& results = *claim.results;
  std::vector<std::string> figures;
  for (const Metric& metric : metrics()) {
    if (metric.key != "params_head_extra" && metric.key != "step_ms" && metric.key != "peak_memory") continue;
    Plot plot{.title = metric.title + " against K", .x_label = "K", .y_label = metric.title};
    for (const Variation& head : results.plan.heads) {
      std::vector<std::pair<double, const Cell*>> points;
      for (const std::string& setting : claim.claim->settings) {
        const std::optional<double> k = classes_of(setting);
        const StudyCell* found = results.cell(setting, head.name);
        if (k && *k > 0 && found && found->cell.has(metric) && found->cell.of(metric).mean > 0)
          points.emplace_back(*k, &found->cell);
      }
      if (points.empty()) continue;
      std::ranges::sort(points);
      Series series{.name = head.name};
      for (const auto& [k, cell] : points) add_point(series, k, *cell, metric);
      plot.series.push_back(std::move(series));
    }
    if (!plot.series.empty()) figures.push_back(chart_svg(plot, {.x = true, .y = true}));
  }
  return framed("charts", figures);
}

/// Calls `visit` for each cell of the claim's settings, with its name: `HET-XL, 40 % wrong`.
template <class Visit>
void for_each_cell(const JudgedClaim& claim, const Visit& visit) {
  const StudyResults& results = *claim.results;
  for (const std::string& setting : claim.claim->settings)
    for (const Variation& head : results.plan.heads)
      if (const StudyCell* found = results.cell(setting, head.name)) visit(*found, head.name + ", " + setting);
}

std::string covariances(const JudgedClaim& claim) {
  constexpr size_t kTitle = 60;
  std::vector<std::string> figures;
  for_each_cell(claim, [&](const StudyCell& cell, const std::string& name) {
    const ShownNoise& noise = cell.noise;
    for (const auto& [what, values] : {std::pair("learned: ", &noise.learned), {"true: ", &noise.known}}) {
      if (!values->defined()) continue;
      double most = 0;
      for (int64_t i = 0; i < values->numel(); ++i)
        most = std::max(most, std::abs(static_cast<double>(values->data<float>()[i])));
      figures.push_back(heat_map_svg({.title = fitting(what + name, kTitle),
                                      .names = noise.classes,
                                      .values = *values,
                                      .limit = most > 0 ? most : 1}));
    }
  });
  return framed("plots", figures);
}

std::string reliabilities(const JudgedClaim& claim) {
  std::vector<std::string> figures;
  for_each_cell(claim, [&](const StudyCell& cell, const std::string& name) {
    const std::string& head = claim.results->plan.heads[cell.cell.head].name;
    const auto compared = [&](const ClaimedComparison& c) { return c.head == head || c.than == head; };
    if (std::ranges::none_of(claim.claim->comparisons, compared)) return;
    std::vector<const Measures*> before, after;
    std::vector<double> temperatures;
    for (const FinishedRun& run : cell.cell.runs) before.push_back(&run.summary.test.measures);
    for (const CalibratedRun& run : cell.cell.calibrated) {
      after.push_back(&run.test.measures);
      temperatures.push_back(run.temperature);
    }
    Plot plot{.title = name,
              .x_label = "confidence",
              .y_label = "accuracy",
              .series = {reliability(before, "as trained")},
              .diagonal = true,
              .unit_square = true};
    if (!after.empty()) plot.series.push_back(reliability(after, "tempered by " + estimate(temperatures).text(2)));
    if (!plot.series[0].x.empty()) figures.push_back(chart_svg(plot));
  });
  return framed("charts", figures);
}

std::string images(const JudgedClaim& claim) {
  std::string text;
  for_each_cell(claim, [&](const StudyCell& cell, const std::string& name) {
    if (cell.noise.images.empty()) return;
    text += "<p>" + escaped(name) + "</p>\n<div class=\"images\">\n";
    for (const ShownImage& image : cell.noise.images) {
      char sigma[32];
      std::snprintf(sigma, sizeof sigma, "σ %.3g", image.noise);
      text += "<figure><img src=\"" + image.picture + "\" alt=\"" +
              escaped(image.label + ", predicted " + image.prediction) + "\"><figcaption>" + escaped(image.label) +
              "<br>→ " + escaped(image.prediction) + "<br><span class=\"muted\">" + sigma +
              "</span></figcaption></figure>\n";
    }
    text += "</div>\n";
  });
  return text;
}

struct Drawn {
  const char* caption;
  std::string html;
};

Drawn drawn(Figure figure, const JudgedClaim& claim) {
  switch (figure) {
    case Figure::sweep:
      return {
          "The sweep, mean ± standard error, and the head that learns the value, at the τ it learns (a level line "
          "where the value is another).",
          sweeps(claim)};
    case Figure::cost:
      return {"Cost as the classes grow, both axes logarithmic; what costs nothing is not there.", costs(claim)};
    case Figure::covariance:
      return {
          "Which classes' logits move together, by the first seed: learned, and true where it is known; each map "
          "has a scale of its own.",
          covariances(claim)};
    case Figure::reliability:
      return {"Accuracy against confidence over all seeds, as trained and after temperature scaling on held-out data.",
              reliabilities(claim)};
    case Figure::images:
      return {"The noisiest images according to the first seed: label → prediction.", images(claim)};
    default:
      return {
          "One row a comparison, positive (shaded) as claimed: mean, 95 % interval (thick), the interval that "
          "judges (thin).",
          forests(claim)};
  }
}

}  // namespace

std::string figures_html(const JudgedClaim& claim) {
  std::string text;
  std::vector<std::string> missing;
  for (const Figure figure : claim.claim->figures) {
    const Drawn one = drawn(figure, claim);
    if (one.html.empty())
      missing.push_back(name_of(figure));
    else
      text += "<p class=\"muted\">" + std::string(one.caption) + "</p>\n" + one.html;
  }
  if (!missing.empty()) text += "<p>No results (yet) for: " + escaped(join(missing)) + ".</p>\n";
  return text;
}

}  // namespace sked
