// What a piece of a program asks of its device is counted, by kernel.

#include "core/work_count.h"

#include <doctest/doctest.h>

#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"

namespace sked::test {

TEST_CASE("work is counted by kernel, with the bytes of its operands, by the youngest counter alone") {
  const Tensor a = Tensor::full({2, 3}, 1), b = Tensor::full({3, 4}, 1);
  Tensor c = Tensor::empty({2, 4});
  const WorkCount outer;
  kernel::matmul(a, b, c, false, false, false);
  {
    const WorkCount inner;
    kernel::add_scaled(c, c, 1);
    CHECK(inner.total().calls == 1);
    CHECK(inner.total().bytes == 2 * 8 * 4);
  }
  kernel::matmul(a, b, c, false, false, true);
  REQUIRE(outer.entries().size() == 1);
  const WorkCount::Entry& product = outer.entries().at("matmul");
  CHECK(product.calls == 2);
  CHECK(product.bytes == 2 * (6 + 12 + 8) * 4);
  CHECK(product.launches == 0);  // there are none on the CPU
}

TEST_CASE("nothing is counted where nobody counts") {
  CHECK(WorkCount::active() == nullptr);
  WorkCount::call("matmul", 1);
  const WorkCount count;
  CHECK(count.entries().empty());
  CHECK(count.total().bytes == 0);
}

}  // namespace sked::test
