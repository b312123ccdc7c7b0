#include "tests/kernels/case.h"

namespace sked::test {
namespace {

using List = KernelCases (*)();

KernelCases all(std::initializer_list<List> lists) {
  KernelCases cases;
  for (const List list : lists)
    for (KernelCase& c : list()) cases.push_back(std::move(c));
  return cases;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"element-wise", elementwise_cases},
      {"memory", memory_cases},
      {"reductions", reduce_cases},
      {"index", index_cases},
      {"random", random_cases},
      {"optimizers", optimizer_cases},
      {"products", matmul_cases},
      {"convolution and pooling",
       [] {
         return all({conv_cases, pool_cases});
       }},
      {"norms",
       [] {
         return all({l2_normalize_cases, norm_cases});
       }},
      {"softmax", softmax_cases},
      {"attention", attention_cases},
      {"likelihood", likelihood_cases},
  };
  return list;
}

}  // namespace sked::test
