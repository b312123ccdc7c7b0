#include "apps/evaluate/shift.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "apps/common/config/progress.h"
#include "apps/common/measure/estimate.h"
#include "apps/common/measure/resized.h"
#include "core/error.h"
#include "core/text.h"
#include "data/made_corruptions.h"
#include "data/relabeled.h"

namespace sked {
namespace {

constexpr const char* kMade = "made";

/// The classes in the order in which files number them, with the ids that folders may be called by.
ClassList classes_in_files(const Asked& asked) {
  const std::vector<std::string>& names = asked.splits.test->class_names();
  const DataSpec& data = asked.config().data;
  ClassList list{.names = class_names_of(data), .ids = class_ids_of(data)};
  return std::ranges::is_permutation(list.names, names) ? list : ClassList{.names = names, .ids = {}};
}

Json mean_of(const std::vector<Json>& evaluations) {
  return combined(evaluations, [](const std::vector<double>& values) { return Json(estimate(values).mean); });
}

std::string percent(const Json& evaluation) {
  char text[16];
  std::snprintf(text, sizeof text, "%6.2f", 100 * evaluation.at("accuracy").number());
  return text;
}

/// `accuracies` by severity, then the mean over all.
void print_line(const std::string& name, const std::map<int, Json>& by_severity, const Json& mean) {
  std::printf("  %-18s", printable(name).c_str());
  for (int severity = 1; severity <= kSeverities; ++severity) {
    const auto found = by_severity.find(severity);
    std::printf(" %s", found == by_severity.end() ? "     -" : percent(found->second).c_str());
  }
  std::printf("   %s  %7.4f  %.4f  %.4f\n", percent(mean).c_str(), mean.at("nll").number(), mean.at("ece").number(),
              mean.at("brier").number());
  std::fflush(stdout);
}

/// Those that were measured, and what they come to.
class Rows {
 public:
  void add(const Corruption& c, const std::map<int, Json>& by_severity) {
    Json list = Json::array();
    std::vector<Json> all;
    for (const auto& [severity, evaluation] : by_severity) {
      Json entry{{"severity", severity}};
      entry.update(evaluation);
      list.push_back(std::move(entry));
      all.push_back(evaluation);
      if (c.in_mean) of_severity_[severity].push_back(evaluation);
    }
    const Json mean = mean_of(all);
    if (c.in_mean) means_.push_back(mean);
    rows_.push_back({{"corruption", c.name}, {"in_mean", c.in_mean}, {"severities", list}, {"mean", mean}});
    print_line(c.name, by_severity, mean);
  }
  /// Without means where none of the corruptions is in them.
  Json result() const {
    if (means_.empty()) return {{"corruptions", rows_}};
    const Json mean = mean_of(means_);
    const double error = 1 - mean.at("accuracy").number();
    std::map<int, Json> by_severity;
    Json severities = Json::array();
    for (const auto& [severity, evaluations] : of_severity_) {
      by_severity[severity] = mean_of(evaluations);
      Json entry{{"severity", severity}};
      entry.update(by_severity[severity]);
      severities.push_back(std::move(entry));
    }
    print_line("mean of " + std::to_string(means_.size()), by_severity, mean);
    std::printf("  mean corruption error %.2f %%, not divided by another model's\n", 100 * error);
    return {{"corruptions", rows_}, {"mean", mean}, {"severities", severities}, {"mean_corruption_error", error}};
  }

 private:
  Json rows_ = Json::array();
  std::vector<Json> means_;
  std::map<int, std::vector<Json>> of_severity_;
};

}  // namespace

Corruptions shift_data(const Asked& asked, const std::string& where, const std::shared_ptr<const Dataset>& images) {
  require_usage(!holds_features(*images), "evaluate", "--shift ", where, ": corruptions are of images, ",
                images->name(), " has vectors");
  if (where == kMade) {
    std::printf("note: corruptions made of the images at hand are not the published ones: no numbers of CIFAR-10-C\n");
    return made_corruptions(images);
  }
  Corruptions corruptions = find_corruptions(where, classes_in_files(asked));
  for (const std::string& line : corruptions.notes) note(printable(line));
  return corruptions;
}

Json report_shift(const Corruptions& corruptions, const std::string& where, const Dataset& like,
                  const std::function<Json(std::shared_ptr<const Dataset>)>& measure) {
  const auto counted = std::ranges::count(corruptions.list, true, &Corruption::in_mean);
  std::printf("under corruption, %s: %zu corruptions, %lld in the mean\n", printable(where).c_str(),
              corruptions.list.size(), static_cast<long long>(counted));
  std::printf("  %-18s %s\n  %-18s %6d %6d %6d %6d %6d   %6s  %7s  %-6s  %s\n", "", "accuracy % at severity", "", 1, 2,
              3, 4, 5, "mean", "nll", "ece", "brier");
  Rows rows;
  for (const Corruption& c : corruptions.list) {
    std::map<int, Json> by_severity;
    for (const int severity : c.severities) {
      const auto images = resized(c.open(severity), like.image_shape());
      by_severity[severity] = measure(with_classes(images, like.class_names(), "the model"));
    }
    rows.add(c, by_severity);
  }
  Json result{{"path", valid_utf8(where)}};
  result.update(rows.result());
  return result;
}

}  // namespace sked
