#pragma once
// A program as several ranks, which mpirun or srun started: who speaks, and how all of them end.

#include <functional>
#include <string>

#include "apps/common/config/options.h"
#include "core/device.h"

namespace sked {

/// Ranks but the first print nothing on stdout from here on. To be called before anything is printed.
void let_one_rank_speak();
bool speaks();

/// Opens world() for a program that takes ranks (AppText::ranks), each with a GPU of its own where there are any;
/// refuses several processes to another. Throws UsageError.
void join_ranks(const AppText& text);

/// Throws Error, on all ranks, unless they compute on the same kind of device.
void require_same_device(Device device);

/// The threads of a rank where nobody has chosen: its share of the processors. 0: as many as there are.
int default_threads();

/// Ends a program that failed: returns the exit status where all ranks come to this alike, say by a wrong
/// configuration, which rank 0 says with say("error: …"). Where others are elsewhere they are ended, after this rank's
/// line, `error: rank 2: …`.
int end_ranks(const std::string& error, int status, const std::function<void(const std::string&)>& say);

/// Ends a program that was asked to stop: the exit status of the request, of which not every rank need know.
int end_interrupted_ranks(int status);

/// `rank 2: ` where there are several, for messages of threads that end the process.
const std::string& rank_prefix();

}  // namespace sked
