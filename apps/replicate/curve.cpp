#include "apps/replicate/curve.h"

#include "core/json.h"
#include "core/text.h"

namespace sked {

std::vector<std::pair<double, double>> periodic_values(std::string_view log, const std::string& key) {
  constexpr size_t kLevels = 32;
  std::vector<std::pair<double, double>> values;
  for (const std::string_view line : lines_of(log)) {
    const Json record = read_json(std::string(line), kLevels).value;  // null where there is none
    if (record.contains("final")) continue;
    const Json *epoch = record.find("epoch"), *value = record.find(key);
    if (epoch != nullptr && epoch->is_number() && value != nullptr && value->is_number())
      values.emplace_back(epoch->number(), value->number());
  }
  return values;
}

}  // namespace sked
