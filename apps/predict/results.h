#pragma once
// Where answers go: the table on stdout, JSON, CSV, a page.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/predict/answer.h"
#include "apps/predict/arguments.h"
#include "apps/predict/page.h"

namespace sked {

/// Throws UsageError where the outputs do not fit each other, Error where one cannot be written, or is somebody's file
/// and not results of before. `key`: what the first column is called.
void check_outputs(const PredictArguments& wanted, const char* key);

/// Answers as they come. Files appear when finish() is called.
class Results {
 public:
  /// `key`: image or id; `shown`: rows of the table; `says`: on stderr what is refused?
  Results(const PredictArguments& wanted, PageAbout about, std::vector<std::string> names, const char* key,
          size_t shown, bool says = true);

  void add(const std::vector<Answer>& answers);
  /// What has no answer: said on stderr at once, and on the page.
  void refuse(const std::string& why);
  void finish();

  size_t answered() const { return count_; }
  size_t refused() const { return refused_.size(); }

 private:
  void print(const Answer& answer) const;

  const PredictArguments& wanted_;
  std::vector<std::string> names_;
  const char* key_;
  size_t shown_, count_ = 0;
  bool says_;
  std::string csv_;
  Json json_ = Json::array();
  std::unique_ptr<Page> page_;
  std::vector<std::string> refused_;
};

}  // namespace sked
