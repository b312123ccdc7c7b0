#pragma once
// Learning-rate schedules.

#include <array>
#include <cstdint>

namespace sked {

enum class ScheduleKind { constant, linear, cosine, rsqrt };
constexpr std::array<const char*, 4> names_of(ScheduleKind) { return {"constant", "linear", "cosine", "rsqrt"}; }

/// lr(step) = peak · warm-up(step) · (floor + (1 − floor) shape(step)) · cooldown(step): linear warm-up over `warmup`
/// steps, then with n = step − warmup and N = total − warmup
///   constant  peak alone, without a floor
///   linear    shape = 1 − n/N
///   cosine    shape = ½ (1 + cos(π n/N)): SGDR's half period (Loshchilov & Hutter, arXiv 1608.03983)
///   rsqrt     shape = 1/√(1 + n/timescale), whatever `total` is: big_vision's create_learning_rate_schedule (Zhai et
///             al., "Scaling Vision Transformers", arXiv 2106.04560)
/// and for each of them a linear descent to 0 over the last `cooldown` steps, (total − step)/cooldown.
struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double peak = 0.1, floor = 0;
  int64_t warmup = 0, total = 1;
  double timescale = 10000;  // of rsqrt, in steps
  int64_t cooldown = 0;
  /// Learning rate of step 0 …; from `total` on it stays, under rsqrt without a cooldown it falls on. warm-up(step) =
  /// (step + 1)/warmup, so the first step already moves (big_vision's is step/warmup), as the last of a cooldown does.
  /// Throws UsageError for a value out of range.
  double at(int64_t step) const;

 private:
  double before_cooldown(double step) const;
};

}  // namespace sked
