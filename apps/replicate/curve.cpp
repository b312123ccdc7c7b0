#include "apps/replicate/curve.h"

#include <limits>
#include <string>

#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"

namespace sked {

std::vector<PeriodicEvaluation> periodic_evaluations(std::string_view log) {
  constexpr size_t kLevels = 32;
  std::vector<PeriodicEvaluation> evaluations;
  for (const std::string_view line : lines_of(log)) {
    const Json record = read_json(std::string(line), kLevels).value;  // null where there is none
    if (record.contains("final")) continue;
    const auto number = [&](const char* key) {
      const Json* value = record.find(key);
      return value != nullptr && value->is_number() ? value->number() : std::numeric_limits<double>::quiet_NaN();
    };
    const Json *step = record.find("step"), *epoch = record.find("epoch"), *nll = record.find("nll");
    if (step == nullptr || !step->is_unsigned() || epoch == nullptr || !epoch->is_number() || nll == nullptr) continue;
    evaluations.push_back(
        {static_cast<int64_t>(step->unsigned_integer()), epoch->number(), number("nll"), number("accuracy")});
  }
  return evaluations;
}

std::vector<PeriodicEvaluation> periodic_evaluations(const RunFolder& folder) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 30;
  try {
    return periodic_evaluations(read_file(folder.metrics(), kMaxBytes));
  } catch (const Error& error) {
    note("curves are without a run: " + std::string(error.what()));
    return {};
  }
}

}  // namespace sked
