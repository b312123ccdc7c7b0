#pragma once
// Copies between host and device.
//
// To the device, a copy goes by way of two buffers of its own: the bytes are copied to a pinned host buffer, from there
// over the bus on a stream of their own, beside whatever kernels are running, and last, in the order of the kernels,
// from a device buffer to where they belong. The call returns after the first of the three, so the next batch crosses
// the bus while the current step computes; only when kSlots copies are on their way does it wait. Floor: bytes / bus
// (about 50 GB/s on PCIe 5), hidden behind the step; 2 · bytes / memory bandwidth in the step itself.

#include <cstddef>

namespace sked::cuda {

void copy_from_host(void* device, const void* host, size_t bytes);

/// Returns when the bytes are on the host and so everything before is done; throws what kernels reported meanwhile.
void copy_to_host(void* host, const void* device, size_t bytes);

/// Within the device, in the order of the kernels. The ranges must not overlap.
void copy(void* to, const void* from, size_t bytes);

}  // namespace sked::cuda
