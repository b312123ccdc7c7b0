#include "core/threads.h"

#include <omp.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <vector>

namespace sked {

void share_processors(const char* const* argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", "1000", 1);
  execv("/proc/self/exe", const_cast<char* const*>(argv));
}

void each_on_one_thread(int64_t n, const std::function<void(int64_t i)>& f) {
  std::vector<std::exception_ptr> errors(static_cast<size_t>(n));
#pragma omp parallel
  {
    omp_set_num_threads(1);  // of this region's tasks alone
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < n; ++i) {
      try {
        f(i);
      } catch (...) {
        errors[static_cast<size_t>(i)] = std::current_exception();
      }
    }
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace sked
