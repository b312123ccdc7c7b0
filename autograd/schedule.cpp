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
  require_usage(timescale > 0 && std::isfinite(timescale), "schedule", "expected timescale > 0, got ", timescale);
  require_usage(cooldown >= 0, "schedule", "expected cooldown >= 0, got ", cooldown);
  require(step >= 0, "schedule", "expected step >= 0, got ", step);
  const double rate = before_cooldown(static_cast<double>(step));
  if (step < total - cooldown || cooldown == 0) return rate;
  return rate * static_cast<double>(std::max<int64_t>(total - step, 0)) / static_cast<double>(cooldown);
}

double Schedule::before_cooldown(double step) const {
  const auto begin = static_cast<double>(warmup);
  // The first step of a warm-up already moves, and its last has the peak.
  if (step < begin) return peak * (step + 1) / begin;
  if (kind == ScheduleKind::constant) return peak;
  const double span = static_cast<double>(std::max<int64_t>(total - warmup, 1));
  const double progress = std::min((step - begin) / span, 1.0);
  double left = 1 - progress;
  if (kind == ScheduleKind::cosine) left = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  if (kind == ScheduleKind::rsqrt) left = 1 / std::sqrt(1 + (step - begin) / timescale);
  return peak * (floor + (1 - floor) * left);
}

}  // namespace sked
