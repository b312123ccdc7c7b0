#pragma once
// A real step by the ranks that are there, beside what is foretold of it from counts and from how fast these ranks
// compute and exchange.

#include "apps/scale/step_time.h"

namespace sked::scale {

struct Measured {
  Machine machine;     // measured: rate by passes of the backbone alone, link and latency by sums alone, memory by the
                       // optimizer alone; `hidden` is what the real steps hid of their gradients' exchange
  StepTime foretold;   // by that machine
  double seconds = 0;  // of the real step: median
};

/// Medians of `rounds`, in each of which all are timed in turn, as long as the slowest rank takes. A collective.
/// Throws UsageError where `batch` does not divide into `ranks`, with two images for each at least.
Measured measure_step(const StepConfig& config, int64_t batch, Communicator& ranks, int rounds);

}  // namespace sked::scale
