#include "apps/evaluate/ensemble.h"

#include <algorithm>
#include <cstdio>

#include "apps/common/measure/estimate.h"
#include "core/text.h"

namespace sked {
namespace {

struct Column {
  const char *key, *title;
  int digits;
  double scale;
};
constexpr Column kColumns[] = {{"nll", "nll", 4, 1},
                               {"accuracy", "accuracy %", 2, 100},
                               {"top5", "top-5 %", 2, 100},
                               {"ece", "ece", 4, 1},
                               {"brier", "brier", 4, 1}};

/// With blanks behind it, counted in characters.
std::string padded(const std::string& text, size_t width) {
  const auto characters =
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return text + std::string(width - std::min(width, static_cast<size_t>(characters)), ' ');
}

/// A table whose lines are printed as soon as they are known.
class Table {
 public:
  explicit Table(const std::vector<std::string>& names) : width_(std::string("ensemble").size()) {
    for (const std::string& name : names) width_ = std::max(width_, printable(name).size());
    std::vector<std::string> titles;
    for (const Column& column : kColumns) titles.emplace_back(column.title);
    print("", titles);
  }
  /// `of` says what stands in a column.
  template <class Of>
  void line(const std::string& name, Of of) const {
    std::vector<std::string> cells;
    for (const Column& column : kColumns) cells.push_back(of(column));
    print(name, cells);
  }

 private:
  void print(const std::string& name, const std::vector<std::string>& cells) const {
    std::string text = "  " + padded(printable(name), width_);
    for (const std::string& cell : cells) text += "  " + padded(cell, 16);
    std::printf("%s\n", std::string(text, 0, text.find_last_not_of(' ') + 1).c_str());
    std::fflush(stdout);
  }

  size_t width_;
};

std::string number(const Json& evaluation, const Column& column) {
  return estimate({evaluation.at(column.key).number()}).text(column.digits, column.scale);
}

}  // namespace

Json report_ensemble(const Ensemble& ensemble, const std::vector<std::string>& runs, const std::string& split,
                     const std::function<void(const Tensor&, const Batch&)>& on_mean) {
  const std::vector<Asked>& members = ensemble.members();
  const Dataset& images = *ensemble.images();
  std::printf("%s, %s images: %lld; the probabilities of %zu runs are averaged (%.1f MB beside their networks)\n",
              members.front().config().data.name.c_str(), split.c_str(), static_cast<long long>(images.size()),
              members.size(), 4e-6 * static_cast<double>(images.size()) * static_cast<double>(images.classes()));
  const Table table(runs);
  Json list = Json::array();
  std::vector<Json> evaluations;
  const auto on_member = [&](size_t m, const Evaluation& own) {
    const Json& json = evaluations.emplace_back(evaluation_json(own, true));
    table.line(runs[m], [&](const Column& column) { return number(json, column); });
    Json member{{"checkpoint", valid_utf8(runs[m])},
                {"samples", members[m].predict.samples},
                {"temperature", members[m].model->head().temperature()}};
    member[split] = json;
    list.push_back(std::move(member));
  };
  const EnsembleEvaluation e = ensemble.evaluate(ensemble.images(), on_member, on_mean);
  const Json all = evaluation_json(e.ensemble, true);
  table.line("mean", [&](const Column& column) {
    std::vector<double> values;
    for (const Json& json : evaluations) values.push_back(json.at(column.key).number());
    return estimate(values).text(column.digits, column.scale);
  });
  table.line("ensemble", [&](const Column& column) { return number(all, column); });
  std::printf("  two members differ on %.2f %% of the images\n", 100 * e.disagreement);
  Json together{{"disagreement", e.disagreement}};
  together[split] = all;
  Json names = Json::array();
  for (const std::string& run : runs) names.push_back(valid_utf8(run));
  return {{"checkpoint", names},
          {"split", split},
          {"members", list},
          {"mean", combined(evaluations, [](const std::vector<double>& v) { return json_of(estimate(v)); })},
          {"ensemble", together}};
}

}  // namespace sked
