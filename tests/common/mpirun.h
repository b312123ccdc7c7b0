#pragma once
// Ranks that are processes, started by the real mpirun on this machine.

#include <cstdint>
#include <string>
#include <vector>

#include "tests/common/shell.h"

namespace sked::test {

/// What a command line begins with that is to be run by `ranks` ranks: on the loopback interface, not bound to
/// processors, more ranks than processors if need be, as root too, ended after 300 s.
std::vector<std::string> mpirun_words(int64_t ranks);

/// Runs the cases of that name of this very test binary on so many ranks, a thread each, with more of an environment
/// ("NAME=value"). AddressSanitizer looks for no leaks in them: Open MPI leaves thousands, of libraries that are gone
/// by then, which no list of suppressions can name.
Shell run_ranks(int64_t ranks, const std::string& cases, const std::string& environment = "");

/// Can it be called here, by a program with MPI? Otherwise says that the test is skipped.
bool has_mpirun();

}  // namespace sked::test
