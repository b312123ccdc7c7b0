#include <algorithm>
#include <chrono>

#include "apps/bench/bench.h"

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

}  // namespace sked::bench
