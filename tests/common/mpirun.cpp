#include "tests/common/mpirun.h"

#include <algorithm>

#include "core/build.h"
#include "tests/common/files.h"
#include "tests/common/shell.h"

namespace sked::test {

std::vector<std::string> mpirun_words(int64_t ranks) {
  return {"mpirun",
          "-np",
          std::to_string(ranks),
          "--oversubscribe",
          "--allow-run-as-root",
          "--bind-to",
          "none",
          "--timeout",
          "300",
          "--mca",
          "btl_tcp_if_include",
          "lo",
          "--mca",
          "oob_tcp_if_include",
          "lo"};
}

bool has_mpirun() {
  const auto is_mpi = [](const std::string& library) { return library.find("MPI") != std::string::npos; };
  const bool built = std::ranges::any_of(libraries(), is_mpi);
  if (built && shell("command -v mpirun").code == 0) return true;
  skip(std::string(built ? "no mpirun here" : "built without MPI") + ": several ranks");
  return false;
}

}  // namespace sked::test
