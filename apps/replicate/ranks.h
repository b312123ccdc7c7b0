#pragma once
// The ranks of one job (mpirun, srun) on a plan: processes that share its runs by the locks of their folders, begin and
// stop together.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "apps/common/run/run_folder.h"
#include "apps/replicate/plan.h"
#include "core/communicator.h"

namespace sked {

/// Throws UsageError, on the ranks that it is true of, where the program's version or the `runs` of the plan, as text,
/// are others than those of rank 0.
void check_alike(Communicator& ranks, const Plan& plan, const std::string& runs);

/// Throws Error, on the ranks that it is true of, where they do not see the folder of rank 0, or not that rank 0 holds
/// its lock: they would train the same runs.
void check_shared(Communicator& ranks, const RunFolder& folder);

/// Removes what makes runs go on, or count as finished: each begins anew, whichever rank takes it. Throws Error where a
/// folder holds something else, BusyError where another process writes to a run.
void start_over(const std::vector<PlannedRun>& runs, const std::filesystem::path& out);

/// While one lives, a rank that is asked to stop asks the others, by a file in the plan's folder. One rank needs none.
class StopTogether {
 public:
  StopTogether(Communicator& ranks, const std::filesystem::path& out);
  ~StopTogether();
  StopTogether(const StopTogether&) = delete;
  StopTogether& operator=(const StopTogether&) = delete;

  /// part(), which has no collective. Returns when every rank has done its own; where one was asked to stop all throw
  /// Interrupted, having come to where nothing is lost.
  void run(const std::function<void()>& part);

 private:
  Communicator& ranks_;
  std::string file_, job_;  // it says the job that is to stop, and the signal
};

}  // namespace sked
