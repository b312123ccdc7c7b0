#pragma once
// Small helpers shared by the CPU kernels: when a loop is worth a fork, and how work is cut so that results do not
// depend on the number of threads.

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace sked::cpu {

/// Elements of light work (a few operations each) below which a loop stays on the calling thread: waking a team costs
/// microseconds, as much as some ten thousand additions.
inline constexpr int64_t kLight = 1 << 15;

/// The same for work of some tens of operations an element (exp, Φ, random numbers).
inline constexpr int64_t kHeavy = 1 << 12;

/// Calls f(begin, end) on disjoint ranges that cover 0 … n-1, one per thread, or once on this thread when n ≤
/// serial_below. Ranges start at multiples of `unit`. f must not throw, and its result must not depend on where ranges
/// are cut.
template <class F>
void parallel_ranges(int64_t n, int64_t serial_below, F&& f, int64_t unit = 64) {
  if (n <= serial_below || omp_get_max_threads() == 1 || omp_in_parallel()) {
    if (n > 0) f(int64_t{0}, n);
    return;
  }
#pragma omp parallel
  {
    const int64_t units = (n + unit - 1) / unit;
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const int64_t begin = std::min(n, units * thread / threads * unit);
    const int64_t end = std::min(n, units * (thread + 1) / threads * unit);
    if (begin < end) f(begin, end);
  }
}

}  // namespace sked::cpu
