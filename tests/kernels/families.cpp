#include "tests/kernels/case.h"

namespace sked::test {

const std::vector<Family>& families() {
  static const std::vector<Family> list = {{"element-wise", elementwise_cases}, {"softmax", softmax_cases}};
  return list;
}

KernelCases timed_cases() {
  KernelCases all;
  for (const auto family : {timed_elementwise, timed_softmax})
    for (KernelCase& c : family()) all.push_back(std::move(c));
  return all;
}

}  // namespace sked::test
