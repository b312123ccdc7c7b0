#pragma once
// Ranks that are threads of this process: what is computed by several of them is tested without MPI, under sanitizers
// too.

#include <cstdint>
#include <functional>

#include "core/communicator.h"

namespace sked::test {

/// f(ranks) by `size` threads, each a rank with one thread of OpenMP. Returns when all are done; rethrows what the
/// first that failed has thrown, on which collectives of the others throw too.
void on_ranks(int64_t size, const std::function<void(Communicator& ranks)>& f);

/// Does f, on one of two ranks, end without meeting the other?
bool meets_nobody(const std::function<void(Communicator& ranks)>& f);

}  // namespace sked::test
