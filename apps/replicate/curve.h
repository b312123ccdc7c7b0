#pragma once
// What a run's metrics.jsonl says of its evaluations.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sked {

/// Epoch and value of `key` of each periodic evaluation in the text of a metrics.jsonl; other lines are passed over.
std::vector<std::pair<double, double>> periodic_values(std::string_view log, const std::string& key);

}  // namespace sked
