#include "apps/replicate/ranks.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "apps/common/config/interrupt.h"
#include "apps/common/measure/provenance.h"
#include "apps/common/run/run_folder.h"
#include "apps/replicate/diverged.h"
#include "apps/replicate/stages.h"
#include "core/build.h"
#include "core/error.h"
#include "core/file.h"

namespace sked {

namespace {

std::string name_of_rank(const Communicator& ranks) {
  return "rank " + std::to_string(ranks.rank()) + " on " + provenance().host;
}

}  // namespace

void check_alike(Communicator& ranks, const Plan& plan, const std::string& runs) {
  const std::string version = all_gather_text(ranks, kVersion).front(), first = all_gather_text(ranks, runs).front();
  require_usage(version == kVersion, "replicate", name_of_rank(ranks), ": this program is version ", kVersion,
                ": expected ", version, ", as rank 0 has it");
  require_usage(first == runs, "replicate", plan.path, ": ", name_of_rank(ranks),
                " has other runs than rank 0: expected the same plan and options everywhere");
}

void check_shared(Communicator& ranks, const RunFolder& folder) {
  if (ranks.size() == 1) return;
  std::optional<MetricsLog> held;
  try {
    if (ranks.rank() == 0) held.emplace(folder);
  } catch (const BusyError&) {  // a process of another job has it: that is to be seen as well
  }
  ranks.barrier();
  const bool there = std::filesystem::exists(folder.metrics());
  const std::string where = name_of_rank(ranks);
  require(there, "replicate", folder.path.string(), ": ", where,
          " does not see what rank 0 wrote there: expected --out in a folder that all machines share");
  require(ranks.rank() == 0 || has_another_process(folder), "replicate", folder.metrics(), ": ", where,
          " does not see the lock of rank 0: expected --out on a file system with locks (flock) that all machines see");
  ranks.barrier();
  held.reset();  // takes a folder away that it made: before anyone goes on to make it
  ranks.barrier();
}

void start_over(const std::vector<PlannedRun>& runs, const std::filesystem::path& out) {
  for (const PlannedRun& run : runs) {
    const RunFolder folder{out / run.folder};
    find_planned(run, out, true);  // refuses what is somebody else's
    if (!std::filesystem::exists(folder.path)) continue;
    MetricsLog held(folder);
    held.cut(0);
    forget_diverged(run, out);
    folder.clear_results();
  }
}

StopTogether::StopTogether(Communicator& ranks, const std::filesystem::path& out) : ranks_(ranks) {
  if (ranks.size() == 1) return;
  file_ = (out / ".stop").string();
  job_ = all_gather_text(ranks, provenance().host + "-" + std::to_string(::getpid())).front() + " ";
  listen([file = file_, job = job_] {
    constexpr uint64_t kMostBytes = 4096;
    std::error_code unknown;
    if (!std::filesystem::exists(file, unknown)) return 0;
    try {
      const std::string text = read_file(file, kMostBytes);
      return text.starts_with(job) ? std::atoi(text.c_str() + job.size()) : 0;
    } catch (const Error&) {  // rank 0 has removed it between the two
      return 0;
    }
  });
}

StopTogether::~StopTogether() {
  listen({});
  std::error_code gone;
  if (ranks_.size() > 1 && ranks_.rank() == 0) std::filesystem::remove(file_, gone);
}

void StopTogether::run(const std::function<void()>& part) {
  if (ranks_.size() == 1) return part();
  bool stopped = false;
  try {
    part();
  } catch (const Interrupted&) {
    stopped = true;
  }
  const int status = interrupt_status();
  const bool tells = stopped && status != kTimeUp;  // its time is each rank's own
  if (tells) write_file(file_, job_ + std::to_string(status - 128));
  if (std::ranges::max(all_gather_number(ranks_, stopped)) == 0) return;
  interrupted(ranks_);  // all know the signal
  throw Interrupted();
}

}  // namespace sked
