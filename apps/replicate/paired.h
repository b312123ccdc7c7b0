#pragma once
// Heads against each other over the same seeds: differences with their intervals, and since which step they are there.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/replicate/results.h"

namespace sked {

/// A head of a setting against one that stands before it in the plan, over the seeds that both have, two or more.
struct PairedHeads {
  size_t setting, head, than;
  /// head - than, of the compared metrics that both have.
  std::vector<std::pair<const Metric*, Estimate>> differences;
  /// The first periodic evaluation from which to the last of both the 95 % interval of the differences in NLL is on the
  /// same side of zero; none where at the last it is not.
  struct Onset {
    int64_t step;
    double epoch;
  };
  std::optional<Onset> onset;
};
std::vector<PairedHeads> paired_heads(const Plan& plan, const std::vector<Cell>& cells);

/// Is zero outside the 95 % interval?
bool excludes_zero(const Estimate& difference);

/// One setting's pairs as the rows of a table, the first its header: `-0.0035 (-0.0041, -0.0029)`. None where no pair
/// has two seeds.
std::vector<std::vector<std::string>> paired_table(const Plan& plan, const std::vector<Cell>& cells, size_t setting);

/// [{setting, head, than, <metric>: {mean, standard_error, count, interval}, …, nll_differs_from_step}, …]
Json paired_json(const Plan& plan, const std::vector<Cell>& cells);

}  // namespace sked
