#pragma once
// Learning-rate schedules.

#include <array>
#include <cstdint>

namespace sked {

enum class ScheduleKind { constant, linear, cosine };
constexpr std::array<const char*, 3> names_of(ScheduleKind) { return {"constant", "linear", "cosine"}; }

/// lr(step) = peak · warm-up(step) · shape(step): linear warm-up over `warmup` steps, then constant, linear or cosine
/// decay to peak · floor at `total` (SGDR's half period, Loshchilov & Hutter, arXiv 1608.03983).
struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double peak = 0.1, floor = 0;
  int64_t warmup = 0, total = 1;
  /// Learning rate of step 0 …; from `total` on it stays. warm-up(step) = (step + 1)/warmup, so the first step already
  /// moves. Throws UsageError for a value out of range.
  double at(int64_t step) const;
};

}  // namespace sked
