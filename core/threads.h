#pragma once
// How the threads of parallel loops wait for each other, and work without each other.

#include <cstdint>
#include <functional>

namespace sked {

/// To be called first in main: sets libgomp's threads to wait politely, unless the user has chosen (GOMP_SPINCOUNT,
/// OMP_WAIT_POLICY). A thread that waits for others spins first, for 300,000 rounds by default: 14 ms that it takes
/// from them wherever cores are shared (measured beside other jobs: 15 times slower training of a small network). 1000
/// rounds still bridge the gaps between kernels. libgomp reads its environment before main, so the program starts
/// itself again with the same arguments; where that fails the call returns, and the program is slower, not wrong.
void share_processors(const char* const* argv);

/// Calls f(0) … f(n−1), each on one of the threads of parallel loops, and loops within f have no other: what f computes
/// does not depend on how many there are, nor on what the others do meanwhile. Rethrows the first exception by i. What
/// belongs to a thread (NoGrad, say) f sets up itself.
void each_on_one_thread(int64_t n, const std::function<void(int64_t i)>& f);

}  // namespace sked
