#include "apps/replicate/curve.h"

#include <nlohmann/json.hpp>

#include "core/text.h"

namespace sked {

std::vector<std::pair<double, double>> periodic_values(std::string_view log, const std::string& key) {
  std::vector<std::pair<double, double>> values;
  for (const std::string_view line : lines_of(log)) {
    const auto record = nlohmann::json::parse(line, nullptr, false);
    if (!record.is_object() || record.contains("final")) continue;
    const auto epoch = record.find("epoch"), value = record.find(key);
    if (epoch != record.end() && epoch->is_number() && value != record.end() && value->is_number())
      values.emplace_back(epoch->get<double>(), value->get<double>());
  }
  return values;
}

}  // namespace sked
