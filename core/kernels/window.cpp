#include "core/kernels/window.h"

#include "core/error.h"

namespace sked {

int64_t Window::output(int64_t input) const {
  require(kernel >= 1 && stride >= 1 && padding >= 0, "window", "expected kernel >= 1, stride >= 1, padding >= 0, got ",
          kernel, ", ", stride, ", ", padding);
  const int64_t last = input + 2 * padding - kernel;
  require(input >= 0 && last >= 0, "window", "a window of ", kernel, " does not fit an extent of ", input,
          " with padding ", padding);
  return last / stride + 1;
}

void require_window(const Window& window, const char* where) {
  require(window.kernel >= 1 && window.stride >= 1 && window.padding >= 0 && window.groups >= 1, where,
          "expected kernel, stride, groups >= 1 and padding >= 0, got kernel ", window.kernel, ", stride ",
          window.stride, ", padding ", window.padding, ", groups ", window.groups);
}

}  // namespace sked
