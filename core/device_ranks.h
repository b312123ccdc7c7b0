#pragma once
// What a device's backend offers to the processes of one run, each of which has a card of its own.

#include <cstdint>
#include <string>

#include "core/communicator.h"

namespace sked {

/// The cards of a device that a process sees.
struct Cards {
  /// Their names on the machine: the same text where processes see the same ones; empty where there are none.
  std::string (*seen)();
  /// Which of them is this process' own, from 0: before it is used. One that is not there makes the device unavailable.
  void (*take)(int64_t number);
};
void register_cards(Device device, const Cards& cards);

/// How processes combine tensors of a device without going through the host's memory.
struct DeviceRanks {
  /// What rank 0 makes, by which the others find it.
  std::string (*make_id)();
  /// A collective: called by all ranks. Never destroyed, as the driver may be gone before static objects are. Its
  /// barrier() and abort() are not used.
  Communicator* (*open)(const std::string& id, int64_t rank, int64_t size);
};
void register_ranks(Device device, const DeviceRanks& ranks);

/// nullptr: its backend has none, or there is no backend.
const Cards* cards_of(Device device);
const DeviceRanks* ranks_of(Device device);

}  // namespace sked
