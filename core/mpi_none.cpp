// The build without MPI (MPI=0).
#include "core/error.h"
#include "core/launch.h"
#include "core/mpi.h"

namespace sked {

Communicator& world() {
  const Launch here = launch();
  require_usage(here.size == 1, "ranks", "a launcher started ",
                here.size > 1 ? std::to_string(here.size) + " processes" : "several processes, as it seems",
                ", and this program was built without MPI: each would do the whole work by itself "
                "(`make deps` installs MPI; build again)");
  return alone();
}

Neighbors neighbors() { return {}; }

void take_own_cards() {}

std::optional<int> meet(int mine, double) { return mine; }

void limit_messages(int64_t) {}

}  // namespace sked
