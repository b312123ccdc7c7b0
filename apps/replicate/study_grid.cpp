#include "apps/replicate/study_grid.h"

#include <algorithm>
#include <cmath>

#include "apps/common/measure/html.h"
#include "apps/replicate/page.h"
#include "core/text.h"

namespace sked {
namespace {

std::string setting_grid(const StudyResults& results, const Variation& setting) {
  std::vector<const StudyCell*> cells;
  for (const Variation& head : results.plan.heads)
    if (const StudyCell* cell = results.cell(setting.name, head.name)) cells.push_back(cell);
  if (cells.empty()) return "";
  HtmlTable table{.caption = setting.name + ": mean ± standard error over seeds", .rows = {{"head", "seeds"}}};
  std::vector<const Metric*> columns;
  for (const Metric& metric : metrics())
    if (std::ranges::any_of(cells, [&](const StudyCell* c) { return c->cell.has(metric); })) columns.push_back(&metric);
  for (const Metric* metric : columns) table.rows[0].push_back(escaped(metric->title));
  for (const StudyCell* cell : cells) {
    table.rows.push_back({escaped(results.plan.heads[cell->cell.head].name), std::to_string(cell->cell.runs.size())});
    for (const Metric* metric : columns) table.rows.back().push_back(cell->cell.text(*metric));
  }
  return html_table(table);
}

/// What a setting or head changes, as `name: {…}`.
std::string changes(const std::vector<Variation>& all) {
  std::string text = "<ul>\n";
  for (const Variation& one : all)
    text += "<li>" + escaped(one.name) + ": <code>" + escaped(one.changes) + "</code></li>\n";
  return text + "</ul>\n";
}

}  // namespace

std::string grid_html(const StudyResults& results) {
  std::string text;
  for (const Variation& setting : results.plan.settings) text += setting_grid(results, setting);
  return folded("All cells of the plan: " + results.plan.title, text) +
         folded("What settings and heads change", changes(results.plan.settings) + changes(results.plan.heads));
}

std::string tuning_html(const StudyResults& results) {
  HtmlTable table{
      .caption = "Each tried with seeds that are none of the plan's: the lowest mean held-out NLL was chosen",
      .rows = {{"setting", "head", "values", "seeds", "held-out NLL", "training s", "chosen"}}};
  for (const StudyCell& cell : results.cells)
    for (const Trial& tried : cell.cell.tuning)
      table.rows.push_back({escaped(results.plan.settings[cell.cell.setting].name),
                            escaped(results.plan.heads[cell.cell.head].name), escaped(values_text(tried.values)),
                            std::to_string(tried.held_out_nll.size()),
                            std::isfinite(tried.mean_nll()) ? estimate(tried.held_out_nll).text(4) : "-",
                            estimate({tried.train_seconds}).text(1), tried.chosen ? "chosen" : ""});
  return table.rows.size() == 1 ? "" : folded("Tuning, all that was tried", html_table(table));
}

std::string missing_runs(const StudyResults& results) {
  const Plan& plan = results.plan;
  size_t missing = 0;
  std::string list;
  for (const Variation& setting : plan.settings) {
    for (const Variation& head : plan.heads) {
      const StudyCell* cell = results.cell(setting.name, head.name);
      std::vector<std::string> seeds;
      for (const uint64_t seed : plan.seeds) {
        const auto of_run = [](const FinishedRun& run) { return run.plan.seed; };
        if (!cell || std::ranges::find(cell->cell.runs, seed, of_run) == cell->cell.runs.end())
          seeds.push_back(std::to_string(seed));
      }
      missing += seeds.size();
      if (!seeds.empty())
        list += "<li>" + escaped(head.name + ", " + setting.name) + ": seed " + join(seeds) + "</li>\n";
    }
  }
  if (missing == 0) return "";
  const size_t all = plan.settings.size() * plan.heads.size() * plan.seeds.size();
  return "<p><strong>Not finished:</strong> " + std::to_string(missing) + " of " + std::to_string(all) + " runs of " +
         escaped(plan.title) + " are missing.</p>\n" + folded("Which", "<ul>\n" + list + "</ul>\n");
}

std::string origin_html(const StudyResults& results) {
  std::string text = "<h3>" + escaped(results.plan.title) + "</h3>\n<p>Plan <code>" + escaped(results.plan.path) +
                     "</code>, results <code>" + escaped(results.file) + "</code>.";
  std::string first, last;
  size_t runs = 0;
  for (const StudyCell& cell : results.cells)
    for (const FinishedRun& run : cell.cell.runs) {
      const std::string day = run.summary.made_by.date.substr(0, 10);
      ++runs;
      if (first.empty() || (!day.empty() && day < first)) first = day;
      last = std::max(last, day);
    }
  if (runs == 0) return text + " No run yet.</p>\n";
  const Summary& summary = results.cells.front().cell.runs.front().summary;
  text += " " + std::to_string(runs) + (runs == 1 ? " run on " : " runs on ") + escaped(summary.device) + " (" +
          escaped(summary.precision) + ")";
  if (!last.empty()) text += first == last ? ", " + escaped(first) : ", " + escaped(first) + " to " + escaped(last);
  return text + ".</p>\n" + machine(summary.made_by);
}

}  // namespace sked
