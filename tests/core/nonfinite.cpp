// Not a number in, not a number out.

#include <doctest/doctest.h>

#include "core/kernel.h"
#include "tests/common/nan_cases.h"

namespace sked::test {

TEST_CASE("nan: no maximum, sum or tile of the softmax family loses it") {
  check_nan_is_seen(Device::cpu);
  const ReferenceOnly definitions;
  check_nan_is_seen(Device::cpu);
}

}  // namespace sked::test
