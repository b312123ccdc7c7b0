#pragma once
// Work of a device, recorded once and carried out again as a whole: one launch instead of one for each kernel.

#include <cstdint>
#include <functional>
#include <memory>

#include "core/device.h"
#include "core/tensor.h"

namespace sked {

/// What record_work() made. It works in the places that the recorded calls worked in: tensors that they read or wrote
/// and did not make themselves must outlive it; new input is copied into the same tensors, and results that shall last
/// are copied out before the next replay. Weights whose rounded copies were read (Tensor::read_as) may change between
/// replays: each brings the copies up to date first, and holds the weights.
class Recording {
 public:
  virtual ~Recording() = default;
  /// Carries the work out, after everything asked of the device before. Addresses of random numbers whose step was the
  /// recorded one have `step` instead (core/rng.h); every other number that the host gave is as it was.
  virtual void replay(uint64_t step) = 0;
};

/// Can the work of `device` be recorded in this process? Never on the CPU, where a launch costs nothing.
bool can_record(Device device);

/// Records what f asks of `device`. Nothing is carried out before the first replay(): f is called for its calls alone
/// (or at each replay, as a recorder sees fit), and finds its inputs and leaves its results where they stay. It should
/// have run before: what libraries set up at their first call is no part of the work. What waits for the device or
/// brings data from the host is refused with an Error, on which, as on any other exception, the device is as if f had
/// not been called.
std::unique_ptr<Recording> record_work(Device device, uint64_t step, const std::function<void()>& f);

/// Is this thread within record_work()?
bool recording_now();
/// For Tensor::read_as: the work being recorded, if any, reads the rounded copy of w.
void recording_reads(const Tensor& w);

/// How a device records; nullptr: not at all.
using Recorder = std::unique_ptr<Recording> (*)(uint64_t step, const std::function<void()>& f);
void register_recorder(Device device, Recorder recorder);

}  // namespace sked
