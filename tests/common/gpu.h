#pragma once
// What tests on a GPU share.

#include <string>

#include "core/device.h"
#include "tests/common/files.h"

namespace sked::test {

/// Is there none? Says so then: the test runner counts the case as skipped.
inline bool no_gpu(const std::string& what) {
  if (is_available(Device::cuda)) return false;
  skip("no usable GPU here: " + what);
  return true;
}

}  // namespace sked::test
