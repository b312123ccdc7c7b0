#include "apps/replicate/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "apps/common/config/progress.h"
#include "apps/common/measure/html.h"
#include "apps/common/measure/plots.h"
#include "apps/replicate/noisy_images.h"
#include "apps/replicate/paired.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int kNoisyImages = 24;

constexpr const char* kStyle = R"(<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .best { font-weight: 600; background: #eef6ee; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots svg { width: 560px; height: auto; }
.images { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 112px; font-size: 12px; line-height: 1.25; }
figure img { width: 112px; image-rendering: pixelated; } .muted { color: #666; }
</style>)";

/// A paragraph that says, as stderr does, what is missing: whatever fails here, the runs are trained.
std::string left_out(const std::string& why) {
  note(why);
  return "<p>" + escaped(why) + "</p>\n";
}

/// Draws until gnuplot fails.
class Drawings {
 public:
  explicit Drawings(std::string why_none) : why_none_(std::move(why_none)) {}
  const std::string& why_none() const { return why_none_; }

  std::string draw(const Plot& plot) {
    if (!why_none_.empty()) return "";
    try {
      return sked::draw(plot);
    } catch (const Error& error) {
      why_none_ = error.what();
      return left_out(why_none_ + ": the other plots are left out");
    }
  }

 private:
  std::string why_none_;
};

std::string table(const Plan& plan, const std::vector<Cell>& cells, const std::vector<Comparison>& wins,
                  size_t setting) {
  const std::vector<const Cell*> rows = cells_of_setting(cells, setting);
  const std::vector<const Metric*> columns = columns_of(rows);
  std::string head = "<tr><th>head</th><th>seeds</th>", body;
  for (const Metric* metric : columns) head += "<th>" + escaped(metric->title) + "</th>";
  for (const Cell* cell : rows) {
    body +=
        "<tr><td>" + escaped(plan.heads[cell->head].name) + "</td><td>" + std::to_string(cell->runs.size()) + "</td>";
    for (const Metric* metric : columns) {
      bool best = false;
      for (const Comparison& c : wins) best |= c.setting == setting && c.metric == metric && c.best == cell->head;
      body += std::string(best ? "<td class=\"best\">" : "<td>") + cell->text(*metric) + "</td>";
    }
    body += "</tr>\n";
    if (!cell->ensemble) continue;
    body += "<tr><td>" + escaped(plan.heads[cell->head].name) + ", their ensemble</td><td>" +
            std::to_string(cell->runs.size()) + "</td>";
    for (const Metric* metric : columns) body += "<td>" + cell->ensemble_text(*metric) + "</td>";
    body += "</tr>\n";
  }
  return "<table>" + head + "</tr>\n" + body + "</table>\n";
}

/// Accuracy of every class by head; nothing where a run does not say, or speaks of other classes.
std::string class_table(const Plan& plan, const std::vector<const Cell*>& rows) {
  const std::vector<NamedClass>& classes = rows.front()->runs.front().summary.test.classes;
  if (classes.empty()) return "";
  std::string head = "<tr><th>class</th><th>images</th>", body;
  for (const Cell* cell : rows) {
    head += "<th>" + escaped(plan.heads[cell->head].name) + "</th>";
    for (const FinishedRun& run : cell->runs)
      if (!std::ranges::equal(run.summary.test.classes, classes, {}, &NamedClass::name, &NamedClass::name)) return "";
  }
  for (size_t k = 0; k < classes.size(); ++k) {
    body += "<tr><td>" + escaped(classes[k].name) + "</td><td>" + std::to_string(classes[k].measures.count) + "</td>";
    for (const Cell* cell : rows) {
      std::vector<double> recalls;
      for (const FinishedRun& run : cell->runs) recalls.push_back(run.summary.test.classes[k].measures.recall);
      const Estimate e = estimate(recalls);
      body += "<td>" + (std::isnan(e.mean) ? "-" : e.text(2, 100)) + "</td>";
    }
    body += "</tr>\n";
  }
  return "<details><summary>Accuracy of each class, %</summary>\n<table>" + head + "</tr>\n" + body +
         "</table></details>\n";
}

/// The setting's heads against each other; nothing where none have two seeds in common.
std::string paired(const Plan& plan, const std::vector<Cell>& cells, size_t setting) {
  const std::vector<std::vector<std::string>> rows = paired_table(plan, cells, setting);
  if (rows.empty()) return "";
  std::string text = "<p>Paired by seed, with 95 % intervals:</p>\n<table>";
  for (const std::vector<std::string>& row : rows) {
    const std::string tag = &row == rows.data() ? "th>" : "td>";
    text += "<tr>";
    for (const std::string& cell : row) text += "<" + tag + escaped(cell) + "</" + tag;
    text += "</tr>\n";
  }
  return text + "</table>\n";
}

/// Mean over the cell's runs of a measure at each periodic evaluation, against the epoch.
Series curve(const Cell& cell, const std::string& name, double PeriodicEvaluation::*measure) {
  std::map<double, std::vector<double>> points;
  for (const FinishedRun& run : cell.runs) {
    for (const PeriodicEvaluation& e : run.evaluations)
      if (!std::isnan(e.*measure)) points[e.epoch].push_back(e.*measure);
  }
  Series series{.name = name};
  for (const auto& [epoch, values] : points) {
    const Estimate e = estimate(values);
    series.x.push_back(epoch);
    series.y.push_back(e.mean);
    series.error.push_back(e.standard_error);
  }
  return series;
}

/// Accuracy against confidence over all of the cell's runs; empty bins are left out.
Series reliability(const Cell& cell, const std::string& name) {
  Series series{.name = name};
  for (int bin = 0; bin < kReliabilityBins; ++bin) {
    double count = 0, confidence = 0, right = 0;
    for (const FinishedRun& run : cell.runs) {
      const ReliabilityBin& b = run.summary.test.measures.bins[static_cast<size_t>(bin)];
      count += static_cast<double>(b.count);
      confidence += static_cast<double>(b.count) * b.confidence;
      right += static_cast<double>(b.count) * b.accuracy;
    }
    if (count == 0) continue;
    series.x.push_back(confidence / count);
    series.y.push_back(right / count);
  }
  return series;
}

Plot bars(const Plan& plan, const std::vector<Cell>& cells, size_t setting, const Metric& metric) {
  Plot plot{.title = metric.title + " on the test images", .x_label = "", .y_label = metric.title};
  Series series{.name = "mean ± standard error over seeds"};
  for (const Cell* cell : cells_of_setting(cells, setting)) {
    const Estimate e = cell->of(metric);
    series.x.push_back(static_cast<double>(plot.categories.size()));
    series.y.push_back(e.mean * metric.scale);
    series.error.push_back(e.standard_error * metric.scale);
    plot.categories.push_back(plan.heads[cell->head].name);
  }
  plot.series.push_back(std::move(series));
  return plot;
}

std::string plots(const Plan& plan, const std::vector<Cell>& cells, size_t setting, Drawings& drawings) {
  Plot nll{.title = "NLL during training", .x_label = "epoch", .y_label = "NLL (held-out images, or test)"};
  Plot accuracy{.title = "Accuracy during training", .x_label = "epoch", .y_label = "accuracy"};
  Plot calibration{.title = "Reliability on the test images",
                   .x_label = "confidence",
                   .y_label = "accuracy",
                   .diagonal = true,
                   .unit_square = true};
  const std::vector<const Cell*> shown = cells_of_setting(cells, setting);
  for (const Cell* cell : shown) {
    const std::string& name = plan.heads[cell->head].name;
    nll.series.push_back(curve(*cell, name, &PeriodicEvaluation::nll));
    accuracy.series.push_back(curve(*cell, name, &PeriodicEvaluation::accuracy));
    calibration.series.push_back(reliability(*cell, name));
  }
  std::string text = "<div class=\"plots\">\n";
  for (const Metric* metric : columns_of(shown))
    if (metric->compared && metric->of_predictions) text += drawings.draw(bars(plan, cells, setting, *metric));
  for (const Plot* plot : {&nll, &accuracy, &calibration}) text += drawings.draw(*plot);
  return text + "</div>\n";
}

std::string noisy_images(const Plan& plan, const Cell& cell, const std::filesystem::path& out) {
  const FinishedRun& run = cell.runs.front();
  const std::string folder = (out / run.plan.folder).string();
  if (!std::filesystem::exists(weights_of(run, folder))) return "";  // removed to save space
  std::vector<NoisyImage> images;
  try {
    images = noisiest_images(run, folder, kNoisyImages);
  } catch (const Error& error) {
    return left_out("the noisiest images of " + plan.heads[cell.head].name + " are left out: " + error.what());
  }
  if (images.empty()) return "";
  std::string text = "<h3>Noisiest test images according to " + escaped(plan.heads[cell.head].name) + ", seed " +
                     std::to_string(run.plan.seed) + "</h3>\n<div class=\"images\">\n";
  for (const NoisyImage& image : images) {
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, " (%.2f)<br><span class=\"muted\">σ %.3f</span>", image.probability,
                  image.noise);
    text += "<figure><img src=\"" + image.picture + "\" alt=\"\"><figcaption>" + escaped(image.label) + "<br>→ " +
            escaped(image.prediction) + numbers + "</figcaption></figure>\n";
  }
  return text + "</div>\n";
}

bool predicts_noise(const FinishedRun& run) {
  return run.plan.config.task == TaskKind::classification && run.summary.head != "det";
}

}  // namespace

std::string report_html(const Plan& plan, const std::vector<Cell>& cells, const std::filesystem::path& out,
                        std::string no_plots) {
  Drawings drawings(std::move(no_plots));
  const std::vector<Comparison> wins = comparisons(plan, cells);
  std::string page = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + escaped(plan.title) +
                     "</title>\n" + kStyle + "</head><body>\n<h1>" + escaped(plan.title) + "</h1>\n";
  page +=
      "<p class=\"muted\">Mean ± standard error over seeds; the best mean of each compared column is marked. "
      "<em>Within noise</em>: the paired difference is below two of its standard errors.</p>\n";
  if (!drawings.why_none().empty()) page += "<p>" + escaped(drawings.why_none()) + ": the plots are left out.</p>\n";
  for (size_t s = 0; s < plan.settings.size(); ++s) {
    if (cells_of_setting(cells, s).empty()) continue;
    page += "<h2>" + escaped(plan.settings[s].name) + "</h2>\n" + table(plan, cells, wins, s);
    const std::string warning = data_warning(plan, cells_of_setting(cells, s));
    if (!warning.empty()) page += "<p><strong>" + escaped(warning) + "</strong></p>\n";
    page += "<ul>\n";
    for (const Comparison& c : wins)
      if (c.setting == s) page += "<li>" + escaped(sentence(plan, cells, c)) + "</li>\n";
    page += "</ul>\n" + paired(plan, cells, s) + class_table(plan, cells_of_setting(cells, s));
    if (drawings.why_none().empty()) page += plots(plan, cells, s, drawings);
    for (const Cell& cell : cells)
      if (cell.setting == s && predicts_noise(cell.runs.front())) page += noisy_images(plan, cell, out);
  }
  return page + "</body></html>\n";
}

}  // namespace sked
