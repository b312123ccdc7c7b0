#include <algorithm>
#include <chrono>
#include <sstream>

#include "apps/bench/bench.h"
#include "core/allocator.h"

namespace sked::bench {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double median_seconds(const std::function<void()>& f, int rounds, int warmup) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < warmup; ++i) f();
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) {
    const Clock::time_point begin = Clock::now();
    f();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return median(seconds);
}

void Row::check(double found, double limit) {
  error = found;
  if (found < limit) return;
  std::ostringstream text;
  text << "relative error " << found << " against the definition, expected < " << limit;
  failure = text.str();
}

void Row::measure_memory(Device device, const std::function<void()>& call) {
  CachingAllocator& there = allocator(device);
  const auto before = there.stats().live;
  there.reset_peak();
  call();
  memory = static_cast<double>(there.stats().peak - before);
}

void profile(Row& row, Device device, const std::function<void()>& step) {
  Memory& there = memory(device);
  there.synchronize();
  std::vector<WorkProfile> profiles;
  there.profile(true);
  for (int i = 0; i < (device == Device::cpu ? 5 : 1); ++i) profiles.push_back(profiled(device, step));
  there.profile(false);
  row.work = median_profile(profiles);
  row.seconds = row.work.seconds;
}

}  // namespace sked::bench
