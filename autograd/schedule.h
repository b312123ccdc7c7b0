#pragma once
// Learning-rate schedules.

#include <cstdint>
#include <string>

namespace sked {

/// lr(step) = peak · warm-up(step) · shape(step): linear warm-up over `warmup` steps, then constant, linear or cosine
/// decay to peak · floor at `total` (SGDR's half period, Loshchilov & Hutter, arXiv 1608.03983).
struct Schedule {
  std::string kind = "cosine";  // constant | linear | cosine
  double peak = 0.1, floor = 0;
  int64_t warmup = 0, total = 1;
  /// Learning rate of step 0 …; from `total` on it stays. warm-up(step) = (step + 1)/warmup, so the first step already
  /// moves. Throws UsageError for an unknown kind or a value out of range.
  double at(int64_t step) const;
};

}  // namespace sked
