#pragma once
// All processes that mpirun or srun started, as ranks of one communicator, by MPI where the program was built with it.

#include <cstdint>
#include <optional>

#include "core/communicator.h"

namespace sked {

/// The processes that were started together with this one; alone() where it was started by itself, of which MPI hears
/// nothing. The first call of a rank waits for those of the others; signals of the program are blocked before it
/// (catch_interrupts), as MPI has threads of its own. Throws UsageError where there are several processes and no MPI in
/// this program, or MPI knows nothing of the others: they would do the same work N times.
///
/// One thread of the program uses it. Tensors of a GPU are combined by what its backend offers (device_ranks.h; NCCL),
/// else by way of the host's memory. Ranks leave together: the end of
/// the program waits for all of them, and what ends one alone is abort()'s to say.
Communicator& world();

/// This process among those of world() that are on the same machine.
struct Neighbors {
  int64_t rank = 0, size = 1;
  int64_t processors = 0;  // of those it may run on its share, at least 1; 0: alone
};
Neighbors neighbors();

/// Each rank takes a card of its own of those that it and its neighbors see, before it uses one. A collective.
void take_own_cards();

/// Where all ranks come to this within `seconds`, the greatest `mine`; else nothing: some are elsewhere, and what is
/// left to this one is abort(). To be called at the end, whatever collectives of world() other ranks are in.
std::optional<int> meet(int mine, double seconds);

/// Tensors of more elements are cut into pieces, as the counts of MPI are ints. Tests make it small, on all ranks
/// alike.
void limit_messages(int64_t elements);

}  // namespace sked
