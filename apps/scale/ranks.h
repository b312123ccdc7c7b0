#pragma once
// What a training step costs as the ranks grow: time of compute and of what is exchanged, memory, efficiency.

#include <string>
#include <vector>

#include "apps/common/measure/plots.h"
#include "apps/scale/costs.h"
#include "apps/scale/measured.h"
#include "core/json.h"

namespace sked::scale {

struct RanksCase {
  std::vector<HeadKindConfig> heads;
  StepConfig step;  // but for the head
  std::vector<int64_t> batches, ranks;
  int64_t at_once = 64;  // images of a rank
  Machine machine;
};

/// One row of the table.
struct RanksCost {
  std::string head;
  int64_t batch = 0, ranks = 1;
  bool sharded = false;  // are its classes divided over the ranks?
  StepCount count = {};
  StepTime time = {};
  /// Time of one rank on the same batch over that of all ranks together: with nothing hidden, and with what is.
  double efficiency_at_least = 1, efficiency_at_most = 1;
};

/// A row of the table of real steps.
struct MeasuredCost {
  std::string head;
  int64_t batch = 0;
  bool sharded = false;
  Measured measured = {};
};

/// In order of head, batch, ranks; sharded ones behind those whose classifier is whole on each rank. Throws UsageError
/// for a batch of fewer images than ranks.
std::vector<RanksCost> ranks_costs(const RanksCase& c);

/// Of real steps by the processes that are there. A collective. Throws UsageError where `c.ranks` has another number,
/// or a batch does not divide into them.
std::vector<MeasuredCost> measured_costs(const RanksCase& c, Communicator& ranks, int rounds);

std::string table_of(const std::vector<RanksCost>& all);
Json json_of(const std::vector<RanksCost>& all, const RanksCase& c);
std::string table_of(const std::vector<MeasuredCost>& all, int64_t ranks);
Json json_of(const std::vector<MeasuredCost>& all, const RanksCase& c);
/// Over the ranks, a line for each head and layout of the smallest batch: efficiency with what is hidden; memory.
Plot efficiency_plot(const std::vector<RanksCost>& all);
Plot memory_plot(const std::vector<RanksCost>& all);

}  // namespace sked::scale
