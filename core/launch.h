#pragma once
// What a launcher (mpirun, srun) told this process by its environment, before any MPI is asked.

#include <cstdint>

namespace sked {

/// This process among those that were started together. Without a launcher it is one of one.
struct Launch {
  int64_t rank = 0;
  int64_t size = 1;     // 0: there is a launcher, which does not say
  int64_t on_host = 1;  // processes of the launch on this machine; 0: it does not say
};

/// The environment as it is now: Open MPI's, MPICH's and its kin's (PMI), PMIx', Slurm's.
Launch launch();

/// Removes all of that from the environment, for programs that this one starts and that are no ranks of its run.
void forget_launch();

}  // namespace sked
