#pragma once
// How long a counted step takes on machines of given speeds.

#include "apps/scale/step_count.h"

namespace sked::scale {

/// Of one rank.
struct Machine {
  double rate = 400e12;    // operations a second of forward and backward passes, all that is in them included
  double link = 50e9;      // bytes a second to and from the other ranks
  double latency = 5e-6;   // seconds of a message
  double memory = 1.5e12;  // bytes a second of operands in the optimizer's step
  /// Share of the gradients' exchange that the backward pass can hide; no more is hidden than that pass is long.
  double hidden = 1;
};

/// Seconds of `calls` collectives of `bytes` altogether, by `name`. Halving and doubling, or a ring with as many bytes
/// (Thakur et al., doi 10.1177/1094342005051521): all_gather and reduce_scatter move (N−1)/N of the bytes in ⌈log2 N⌉
/// messages, all_reduce and broadcast both of those, a barrier messages alone.
double seconds_of(const std::string& name, const WorkCount::Entry& collective, int64_t ranks, const Machine& machine);

/// Seconds of one rank's step.
struct StepTime {
  double compute = 0;    // forward and backward pass
  double gradients = 0;  // exchanged; what is begun while the backward pass goes on can hide
  double hidden = 0;     // what of it does
  double exchange = 0;   // everything else that waits for other ranks
  double optimizer = 0;

  double at_most() const { return compute + gradients + exchange + optimizer; }
  double at_least() const { return at_most() - hidden; }
};
StepTime time_of(const StepCount& count, int64_t ranks, const Machine& machine);

}  // namespace sked::scale
