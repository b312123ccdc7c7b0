#include "apps/replicate/report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/common/config/progress.h"
#include "apps/common/measure/html.h"
#include "apps/common/measure/plots.h"
#include "apps/replicate/noise_section.h"
#include "apps/replicate/page.h"
#include "apps/replicate/paired.h"
#include "apps/replicate/reliability.h"
#include "apps/replicate/tuning.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

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
  HtmlTable table{.caption = "Mean ± standard error over seeds", .rows = {{"head", "seeds"}}};
  for (const Metric* metric : columns) table.rows[0].push_back(escaped(metric->title));
  for (const Cell* cell : rows) {
    const std::string name = escaped(plan.heads[cell->head].name), seeds = std::to_string(cell->runs.size());
    std::vector<std::string> row{name, seeds};
    for (const Metric* metric : columns) {
      for (const Comparison& c : wins)
        if (c.setting == setting && c.metric == metric && c.best == cell->head)
          table.best.emplace_back(table.rows.size(), row.size());
      row.push_back(cell->text(*metric));
    }
    table.rows.push_back(std::move(row));
    for (const FurtherRow& further : cell->further_rows()) {
      table.rows.push_back({name + ", " + escaped(further.what), seeds});
      for (const Metric* metric : columns) table.rows.back().push_back(further.text(*metric));
    }
  }
  return html_table(table);
}

/// Every run's own values.
std::string seeds_table(const Plan& plan, const std::vector<const Cell*>& rows) {
  const std::vector<const Metric*> columns = columns_of(rows);
  HtmlTable table{.rows = {{"head", "seed"}}};
  for (const Metric* metric : columns) table.rows[0].push_back(escaped(metric->title));
  for (const Cell* cell : rows) {
    for (const FinishedRun& run : cell->runs) {
      std::vector<std::string> row{escaped(plan.heads[cell->head].name), std::to_string(run.plan.seed)};
      for (const Metric* metric : columns) {
        const double value = !metric->has || metric->has(run.summary) ? metric->get(run.summary) : std::nan("");
        row.push_back(std::isnan(value) ? "-" : estimate({value}).text(metric->digits, metric->scale));
      }
      table.rows.push_back(std::move(row));
    }
  }
  return folded("Values of each seed", html_table(table));
}

/// Accuracy of every class by head; nothing where a run does not say, or speaks of other classes.
std::string class_table(const Plan& plan, const std::vector<const Cell*>& rows) {
  const std::vector<NamedClass>& classes = rows.front()->runs.front().summary.test.classes;
  if (classes.empty()) return "";
  HtmlTable table{.rows = {{"class", "images"}}};
  for (const Cell* cell : rows) {
    table.rows[0].push_back(escaped(plan.heads[cell->head].name));
    for (const FinishedRun& run : cell->runs)
      if (!std::ranges::equal(run.summary.test.classes, classes, {}, &NamedClass::name, &NamedClass::name)) return "";
  }
  for (size_t k = 0; k < classes.size(); ++k) {
    table.rows.push_back({escaped(classes[k].name), std::to_string(classes[k].measures.count)});
    for (const Cell* cell : rows) {
      std::vector<double> recalls;
      for (const FinishedRun& run : cell->runs) recalls.push_back(run.summary.test.classes[k].measures.recall);
      const Estimate e = estimate(recalls);
      table.rows.back().push_back(std::isnan(e.mean) ? "-" : e.text(2, 100));
    }
  }
  return folded("Accuracy of each class, %", html_table(table));
}

/// The setting's heads against each other; nothing where none have two seeds in common.
std::string paired(const Plan& plan, const std::vector<Cell>& cells, size_t setting) {
  HtmlTable table{.caption = "Paired by seed, with 95 % intervals", .rows = paired_table(plan, cells, setting)};
  if (table.rows.empty()) return "";
  for (std::vector<std::string>& row : table.rows)
    for (std::string& cell : row) cell = escaped(cell);
  return html_table(table);
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

Series reliability(const Cell& cell, const std::string& name) {
  std::vector<const Measures*> runs;
  for (const FinishedRun& run : cell.runs) runs.push_back(&run.summary.test.measures);
  return reliability(runs, name);
}

Plot bars(const Plan& plan, const std::vector<Cell>& cells, size_t setting, const Metric& metric) {
  Plot plot{.title = metric.title, .x_label = "", .y_label = metric.title};
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
  Plot calibration{
      .title = "Reliability", .x_label = "confidence", .y_label = "accuracy", .diagonal = true, .unit_square = true};
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

std::string noise(const Plan& plan, const Cell& cell, const std::filesystem::path& out, Drawings& drawings) {
  try {
    return noise_section(plan, cell, out, [&](const Plot& plot) { return drawings.draw(plot); });
  } catch (const Error& error) {
    return left_out("the noisiest images of " + plan.heads[cell.head].name + " are left out: " + error.what());
  }
}

std::string anchor(size_t setting) { return "setting-" + std::to_string(setting + 1); }

/// Where there are several settings.
std::string contents(const Plan& plan, const std::vector<Cell>& cells) {
  std::string items;
  size_t count = 0;
  for (size_t s = 0; s < plan.settings.size(); ++s) {
    if (cells_of_setting(cells, s).empty()) continue;
    items += "<li><a href=\"#" + anchor(s) + "\">" + escaped(plan.settings[s].name) + "</a></li>\n";
    ++count;
  }
  return count < 2 ? "" : "<nav aria-label=\"Contents\"><ul>\n" + items + "</ul></nav>\n";
}

/// Of one setting: who has the lowest NLL and from whom that tells it apart, wrong labels, and how well the predicted
/// noise knows the known one.
std::string summary_of(const Plan& plan, const std::vector<const Cell*>& rows, const Comparison* nll) {
  std::string text;
  if (nll != nullptr) {
    std::string clear, not_clear;
    for (const Comparison::Other& other : nll->others) {
      std::string& list = other.clear() ? clear : not_clear;
      list += (list.empty() ? "" : ", ") + escaped(plan.heads[other.head].name);
    }
    text += " " + escaped(plan.heads[nll->best].name) + " has the lowest NLL" +
            (clear.empty() ? "" : ", clearly lower than " + clear) +
            (not_clear.empty() ? "." : "; these seeds do not tell it from " + not_clear + ".");
  }
  if (const double share = rows.front()->runs.front().summary.noisy_share; share > 0)
    text += " " + estimate({share}).text(1, 100) + " % of the training labels are not the clean ones.";
  std::string correlations;
  const Metric& rho = *std::ranges::find(metrics(), std::string("noise_correlation"), &Metric::key);
  for (const Cell* cell : rows)
    if (cell->has(rho))
      correlations += (correlations.empty() ? "" : ", ") + escaped(plan.heads[cell->head].name) + " " + cell->text(rho);
  if (!correlations.empty())
    text +=
        " Rank correlation of the predicted noise with the entropy of p(y|x) over the test images: " + correlations +
        ".";
  return text.empty() ? "" : " <em>" + escaped(plan.settings[rows.front()->setting].name) + "</em>:" + text;
}

/// A sentence on what was trained, and what each setting came to.
std::string summary_of(const Plan& plan, const std::vector<Cell>& cells, const std::vector<Comparison>& wins) {
  if (cells.empty()) return "";
  size_t runs = 0;
  for (const Cell& cell : cells) runs += cell.runs.size();
  const Summary& first = cells.front().runs.front().summary;
  std::string text = "<p><strong>What you see here.</strong> " + std::to_string(runs) + " runs on " +
                     escaped(first.dataset) + " with " + escaped(first.backbone) + ".";
  for (size_t s = 0; s < plan.settings.size(); ++s) {
    const std::vector<const Cell*> rows = cells_of_setting(cells, s);
    const auto nll =
        std::ranges::find_if(wins, [&](const Comparison& c) { return c.setting == s && c.metric->key == "nll"; });
    if (!rows.empty()) text += summary_of(plan, rows, nll == wins.end() ? nullptr : &*nll);
  }
  return text + "</p>\n";
}

std::string setting_section(const Plan& plan, const std::vector<Cell>& cells, const std::vector<Comparison>& wins,
                            size_t s, const std::filesystem::path& out, Drawings& drawings) {
  const std::vector<const Cell*> rows = cells_of_setting(cells, s);
  std::string page =
      "<h2 id=\"" + anchor(s) + "\">" + escaped(plan.settings[s].name) + "</h2>\n" + table(plan, cells, wins, s);
  if (const std::string where = measured_on(rows); !where.empty()) page += "<p>" + where + "</p>\n";
  if (const std::string tuned = tuning_sentence(plan, rows); !tuned.empty()) page += "<p>" + escaped(tuned) + "</p>\n";
  const std::string warning = data_warning(plan, rows);
  if (!warning.empty()) page += "<p><strong>" + escaped(warning) + "</strong></p>\n";
  page += "<ul>\n";
  for (const Comparison& c : wins)
    if (c.setting == s) page += "<li>" + escaped(sentence(plan, cells, c)) + "</li>\n";
  page += "</ul>\n" + paired(plan, cells, s) + seeds_table(plan, rows) + class_table(plan, rows);
  if (drawings.why_none().empty()) page += plots(plan, cells, s, drawings);
  for (const Cell* cell : rows) page += noise(plan, *cell, out, drawings);
  return page;
}

}  // namespace

std::string report_html(const Plan& plan, const std::vector<Cell>& cells, const std::filesystem::path& out,
                        std::string no_plots) {
  Drawings drawings(std::move(no_plots));
  const std::vector<Comparison> wins = comparisons(plan, cells);
  std::string page = page_beginning(plan.title) + summary_of(plan, cells, wins) + explanations() +
                     "<p class=\"muted\">The best mean of each compared column is marked. <em>Within noise</em>: the "
                     "paired difference is below two of its standard errors.</p>\n";
  if (!drawings.why_none().empty()) page += "<p>" + escaped(drawings.why_none()) + ": the plots are left out.</p>\n";
  page += contents(plan, cells);
  for (size_t s = 0; s < plan.settings.size(); ++s)
    if (!cells_of_setting(cells, s).empty()) page += setting_section(plan, cells, wins, s, out, drawings);
  return page + page_end(plan, cells, out);
}

}  // namespace sked
