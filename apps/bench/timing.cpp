#include <algorithm>
#include <chrono>
#include <sstream>

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

void Row::check(double found, double limit) {
  error = found;
  if (found < limit) return;
  std::ostringstream text;
  text << "relative error " << found << " against the definition, expected < " << limit;
  failure = text.str();
}

void profile(Row& row, Device device, const std::function<void()>& step) {
  Memory& there = memory(device);
  there.synchronize();
  there.profile(true);
  const WorkCount count;
  row.seconds = median_seconds(
      [&] {
        step();
        there.synchronize();
      },
      1, 0);
  there.profile(false);
  row.work = count.entries();
}

}  // namespace sked::bench
