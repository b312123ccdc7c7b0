#include "apps/replicate/tables.h"

#include <string_view>

#include "apps/replicate/paired.h"
#include "apps/replicate/tuning.h"
#include "core/text.h"

namespace sked {
namespace {

/// Text as Markdown shows it, inside a cell of a table too.
std::string markdown(const std::string& text) {
  constexpr std::string_view kMarkup = "\\|`*_~[<&$";
  std::string result;
  for (char c : printable(text)) {
    if (kMarkup.find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

/// What a page made of the results alone needs of the plan: without it nobody knows what is missing.
Json plan_json(const Plan& plan) {
  Json json = {{"path", valid_utf8(plan.path)}, {"settings", Json::object()}, {"heads", Json::object()}};
  for (const auto& [key, list] : {std::pair("settings", &plan.settings), {"heads", &plan.heads}})
    for (const Variation& variation : *list) json[key][variation.name] = parse_json(variation.changes, plan.path);
  json["seeds"] = plan.seeds;
  return json;
}

}  // namespace

std::string table_markdown(const Plan& plan, const std::vector<Cell>& cells) {
  std::string text;
  for (size_t s = 0; s < plan.settings.size(); ++s) {
    const std::vector<const Cell*> rows = cells_of_setting(cells, s);
    if (rows.empty()) continue;
    const std::vector<const Metric*> columns = columns_of(rows);
    text += (text.empty() ? "**" : "\n**") + markdown(plan.settings[s].name) + "**\n\n";
    if (const std::string where = measured_on(rows); !where.empty()) text += where + "\n\n";
    text += "| head | seeds |";
    for (const Metric* metric : columns) text += " " + markdown(metric->title) + " |";
    text += "\n|---|---|";
    for (size_t i = 0; i < columns.size(); ++i) text += "---|";
    text += "\n";
    for (const Cell* cell : rows) {
      text += "| " + markdown(plan.heads[cell->head].name) + " | " + std::to_string(cell->runs.size()) + " |";
      for (const Metric* metric : columns) text += " " + cell->text(*metric) + " |";
      text += "\n";
      for (const FurtherRow& row : cell->further_rows()) {
        text += "| " + markdown(plan.heads[cell->head].name + ", " + row.what) + " | " +
                std::to_string(cell->runs.size()) + " |";
        for (const Metric* metric : columns) text += " " + row.text(*metric) + " |";
        text += "\n";
      }
    }
    if (const std::string tuned = tuning_sentence(plan, rows); !tuned.empty()) text += "\n" + markdown(tuned) + "\n";
    if (const auto table = paired_table(plan, cells, s); !table.empty()) {
      text += "\nPaired by seed, with 95 % intervals:\n\n";
      for (size_t i = 0; i < table.size(); ++i) {
        for (const std::string& cell : table[i]) text += "| " + markdown(cell) + " ";
        text += "|\n";
        for (size_t c = 0; i == 0 && c < table[0].size(); ++c) text += "|---";
        if (i == 0) text += "|\n";
      }
    }
    if (const std::string warning = data_warning(plan, rows); !warning.empty()) text += "\n" + markdown(warning) + "\n";
  }
  return text;
}

Json further_json(const Cell& cell) {
  Json entry = Json::object();
  if (cell.ensemble)
    entry["ensemble"] = {{"test", evaluation_json(cell.ensemble->test, true)},
                         {"disagreement", cell.ensemble->disagreement}};
  for (const CalibratedRun& run : cell.calibrated)
    entry["calibrated"].push_back(
        {{"seed", run.seed}, {"temperature", run.temperature}, {"test", evaluation_json(run.test, true)}});
  if (cell.noise) entry["noise"] = *cell.noise;
  return entry;
}

std::string results_json(const Plan& plan, const std::vector<Cell>& cells) {
  Json result = {{"title", valid_utf8(plan.title)},
                 {"about", parse_json(plan.about, plan.path)},
                 {"cells", Json::array()},
                 {"comparisons", Json::array()}};
  if (!plan.study.empty()) {
    result["study"] = parse_json(plan.study, plan.path);
    result["plan"] = plan_json(plan);
  }
  if (plan.full) result["full"] = true;
  for (const Cell& cell : cells) {
    Json entry = {{"setting", plan.settings[cell.setting].name}, {"head", plan.heads[cell.head].name}};
    for (const Metric& metric : metrics())
      if (cell.has(metric)) entry[metric.key] = json_of(cell.of(metric));
    entry["runs"] = cell.runs_json();
    if (!cell.tuning.empty()) entry["tuning"] = tuning_json(cell.tuning);
    const Json further = further_json(cell);
    for (const auto& [key, value] : further.members()) entry[key] = value;
    result["cells"].push_back(std::move(entry));
  }
  for (const Comparison& c : comparisons(plan, cells)) {
    Json entry = {
        {"setting", plan.settings[c.setting].name}, {"metric", c.metric->key}, {"best", plan.heads[c.best].name}};
    for (const Comparison::Other& other : c.others)
      entry["others"].push_back({{"head", plan.heads[other.head].name},
                                 {"difference", json_of(other.difference)},
                                 {"beyond_two_standard_errors", other.clear()}});
    result["comparisons"].push_back(std::move(entry));
  }
  result["paired"] = paired_json(plan, cells);
  return json_text(result);
}

}  // namespace sked
