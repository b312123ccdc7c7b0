// Not a number in, not a number out, on the GPU too.

#include <doctest/doctest.h>

#include <iostream>

#include "core/device.h"
#include "tests/common/nan_cases.h"

namespace sked::test {

TEST_CASE("nan: no maximum, sum or tile of the softmax family loses it on the GPU") {
  if (!is_available(Device::cuda)) {
    std::cout << "skipped: no usable GPU here: NaN in kernels\n";
    return;
  }
  check_nan_is_seen(Device::cuda);
}

}  // namespace sked::test
