#include "core/launch.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

namespace sked {
namespace {

/// The first of these variables that is there, as a number; else `otherwise`.
int64_t number(std::initializer_list<const char*> names, int64_t otherwise) {
  for (const char* name : names)
    if (const char* text = std::getenv(name)) return std::strtoll(text, nullptr, 10);
  return otherwise;
}

}  // namespace

Launch launch() {
  // A step of Slurm may be a shell that calls mpirun: what is nearest to the process comes first.
  const int64_t without_size = std::getenv("PMIX_RANK") != nullptr ? 0 : 1;
  return {.rank = number({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"}, 0),
          .size = number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}, without_size),
          .on_host = number({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}, without_size)};
}

void forget_launch() {
  std::vector<std::string> names;
  for (char** at = environ; *at != nullptr; ++at)
    for (const char* prefix : {"OMPI_", "PMI_", "PMIX_", "PRTE_", "ORTE_", "SLURM_STEP_", "SLURM_PROCID=", "MPI_LOCAL"})
      if (std::strncmp(*at, prefix, std::strlen(prefix)) == 0) names.emplace_back(*at, std::strchr(*at, '='));
  for (const std::string& name : names) unsetenv(name.c_str());
}

}  // namespace sked
