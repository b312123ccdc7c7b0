#include "core/threads.h"

#include <unistd.h>

#include <cstdlib>

namespace sked {

void share_processors(const char* const* argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  execv("/proc/self/exe", const_cast<char* const*>(argv));
}

}  // namespace sked
