#include "tests/common/mpirun.h"

#include <algorithm>
#include <cstdlib>

#include "core/build.h"
#include "core/text.h"
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

Shell run_ranks(int64_t ranks, const std::string& cases, const std::string& environment) {
  const std::string self = own_program();
  const char* before = std::getenv("ASAN_OPTIONS");
  const std::string leaks = "ASAN_OPTIONS='" + std::string(before == nullptr ? "" : before) + ":detect_leaks=0'";
  return shell("env " + leaks + " OMP_NUM_THREADS=1 " + environment + " " + join(mpirun_words(ranks), " ") + " '" +
               self + "' -tc='" + cases + "'");
}

bool has_mpirun() {
  const auto is_mpi = [](const std::string& library) { return library.find("MPI") != std::string::npos; };
  const bool built = std::ranges::any_of(libraries(), is_mpi);
  if (built && shell("command -v mpirun").code == 0) return true;
  skip(std::string(built ? "no mpirun here" : "built without MPI") + ": several ranks");
  return false;
}

}  // namespace sked::test
