#include "apps/scale/step_time.h"

#include <algorithm>
#include <bit>

namespace sked::scale {

double seconds_of(const std::string& name, const WorkCount::Entry& collective, int64_t ranks, const Machine& machine) {
  const int rounds = std::bit_width(static_cast<uint64_t>(ranks - 1));  // ⌈log2 N⌉
  const int passes = name == "all_gather" || name == "reduce_scatter" || name == "barrier" ? 1 : 2;
  const double share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  return passes * (share * static_cast<double>(collective.bytes) / machine.link +
                   static_cast<double>(collective.calls * rounds) * machine.latency);
}

StepTime time_of(const StepCount& count, int64_t ranks, const Machine& machine) {
  StepTime time;
  const auto seconds = [&](int64_t operations) { return static_cast<double>(operations) / machine.rate; };
  time.compute = seconds(count.forward.operations + count.backward.operations + count.head.operations);
  time.optimizer = static_cast<double>(count.update.bytes) / machine.memory;
  for (const Work* work : {&count.forward, &count.backward, &count.head})
    for (const auto& [name, entry] : work->collectives) time.exchange += seconds_of(name, entry, ranks, machine);
  for (const auto& [name, entry] : count.update.collectives)
    (name == "start_all_reduce" ? time.gradients : time.exchange) += seconds_of(name, entry, ranks, machine);
  // Gradients of the last part alone are exchanged.
  const double backward = seconds(count.backward.operations / count.parts);
  time.hidden = std::min(machine.hidden * time.gradients, backward);
  return time;
}

}  // namespace sked::scale
