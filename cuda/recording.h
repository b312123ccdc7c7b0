#pragma once
// Recordings (core/recording.h) as CUDA graphs of the one stream: what the rest of the backend must know of them.

#include <cstdint>

namespace sked::cuda {

/// Throws Error `[cuda] <what> cannot be recorded` while a recording is under way.
void refuse_in_recording(const char* what);

/// Whoever launches anything on the compute stream says so beforehand, under the name it has in a WorkCount. Throws
/// Error while a recording is under way that has become too long.
void count_launch(const char* where);

/// Where a kernel finds the step of its random numbers at each replay: a word on the device, or nullptr where an
/// address with this step keeps it, because nothing is being recorded or because it is not the recorded one.
const uint64_t* replayed_step(uint64_t step);

}  // namespace sked::cuda
