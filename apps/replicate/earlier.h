#pragma once
// What results.json of before knows.

#include <filesystem>
#include <optional>

#include "apps/replicate/results.h"

namespace sked {

class EarlierResults {
 public:
  /// Looks at results.json in `out`. One that is not there, of an earlier version, or not to be read knows nothing.
  explicit EarlierResults(const std::filesystem::path& out);

  /// Were they of the plan's full size? Nothing where there are none.
  std::optional<bool> full() const;
  /// The entry `key` of a cell of the very same runs; nullptr where there is none.
  const Json* find(const Plan& plan, const Cell& cell, const std::string& key) const;

 private:
  Json results_;
};

}  // namespace sked
