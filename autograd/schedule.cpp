#include "autograd/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace sked {

double Schedule::at(int64_t step) const {
  require_usage(warmup >= 0 && total >= 1, "schedule", "expected warmup >= 0 and total >= 1, got ", warmup, " and ",
                total);
  require_usage(peak >= 0 && std::isfinite(peak), "schedule", "expected a finite peak >= 0, got ", peak);
  require_usage(floor >= 0 && floor <= 1, "schedule", "expected 0 <= floor <= 1, got ", floor);
  require(step >= 0, "schedule", "expected step >= 0, got ", step);
  const double now = static_cast<double>(step);
  // The first step of a warm-up already moves, and its last has the peak.
  if (step < warmup) return peak * (now + 1) / static_cast<double>(warmup);
  if (kind == ScheduleKind::constant) return peak;
  const double span = static_cast<double>(std::max<int64_t>(total - warmup, 1));
  const double progress = std::min((now - static_cast<double>(warmup)) / span, 1.0);
  const double left = kind == ScheduleKind::linear ? 1 - progress : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return peak * (floor + (1 - floor) * left);
}

}  // namespace sked
