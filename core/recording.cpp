#include "core/recording.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"

namespace sked {
namespace {

Recorder& recorder_of(Device device) {
  static std::array<Recorder, kDevices> list{};
  return list[static_cast<size_t>(device)];
}

/// The weights whose rounded copies the recording under way on this thread reads.
thread_local TensorList* weights_read = nullptr;

class Reading {
 public:
  explicit Reading(TensorList& list) : before_(weights_read) { weights_read = &list; }
  ~Reading() { weights_read = before_; }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

 private:
  TensorList* before_;
};

/// A backend's recording behind the rounded copies it reads.
class WithWeights final : public Recording {
 public:
  WithWeights(std::unique_ptr<Recording> work, TensorList weights)
      : weights_(std::move(weights)), work_(std::move(work)) {}
  void replay(uint64_t step) override {
    for (const Tensor& w : weights_) (void)w.read_as(DType::bf16);
    work_->replay(step);
  }

 private:
  const TensorList weights_;
  const std::unique_ptr<Recording> work_;
};

}  // namespace

void register_recorder(Device device, Recorder recorder) { recorder_of(device) = recorder; }

bool can_record(Device device) { return recorder_of(device) != nullptr && is_available(device); }

std::unique_ptr<Recording> record_work(Device device, uint64_t step, const std::function<void()>& f) {
  require(can_record(device), "recording", "the work of ", device, " cannot be recorded by this program");
  TensorList weights;
  std::unique_ptr<Recording> work;
  {
    const Reading reading(weights);
    work = recorder_of(device)(step, f);
  }
  return std::make_unique<WithWeights>(std::move(work), std::move(weights));
}

bool recording_now() { return weights_read != nullptr; }

void recording_reads(const Tensor& w) {
  if (weights_read == nullptr) return;
  const auto same = [&](const Tensor& other) { return other.shares_storage(w); };
  if (std::ranges::none_of(*weights_read, same)) weights_read->push_back(w);
}

}  // namespace sked
