#include "core/recording.h"

#include <array>

#include "core/error.h"

namespace sked {
namespace {

Recorder& recorder_of(Device device) {
  static std::array<Recorder, kDevices> list{};
  return list[static_cast<size_t>(device)];
}

}  // namespace

void register_recorder(Device device, Recorder recorder) { recorder_of(device) = recorder; }

bool can_record(Device device) { return recorder_of(device) != nullptr && is_available(device); }

std::unique_ptr<Recording> record_work(Device device, uint64_t step, const std::function<void()>& f) {
  require(can_record(device), "recording", "the work of ", device, " cannot be recorded by this program");
  return recorder_of(device)(step, f);
}

}  // namespace sked
