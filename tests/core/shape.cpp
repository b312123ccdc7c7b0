#include "core/shape.h"

#include <doctest/doctest.h>

#include <limits>

#include "core/kernels/window.h"
#include "tests/common/files.h"

using namespace sked;
using test::error_of;
using test::one_line_with;

TEST_CASE("shape: extents, axes and products") {
  const Shape s{2, 3, 4};
  CHECK(s.ndim() == 3);
  CHECK(s.numel() == 24);
  CHECK(s[0] == 2);
  CHECK(s[-1] == 4);
  CHECK(s.axis(-3) == 0);
  CHECK(s.product(1, 3) == 12);
  CHECK(s.product(1, 1) == 1);
  CHECK(s.with(-1, 5) == Shape{2, 3, 5});
  CHECK(s.without(1) == Shape{2, 4});
  CHECK(s.str() == "(2, 3, 4)");
  CHECK(Shape().numel() == 1);
  CHECK(Shape().str() == "()");
  CHECK(Shape{0, 5}.numel() == 0);
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
}

TEST_CASE("shape: errors name the values") {
  const int64_t big = int64_t{1} << 32;
  CHECK(one_line_with(error_of([] { Shape{1, 1, 1, 1, 1, 1, 1}; }), "at most 6", "got 7"));
  CHECK(one_line_with(error_of([] { Shape{2, -1}; }), "got -1", "axis 1"));
  CHECK(one_line_with(error_of([&] { Shape{big, big}; }), "4294967296", "64 bits"));
  CHECK(one_line_with(error_of([&] { Shape{big, 0, big}; }), "64 bits"));  // or a product of two axes would overflow
  CHECK(one_line_with(error_of([] { Shape{2, 3}[2]; }), "(2, 3)", "got 2"));
  CHECK(one_line_with(error_of([] { Shape{2, 3}[-3]; }), "got -3"));
  CHECK(one_line_with(error_of([] { Shape{2, 3}.product(1, 3); }), "[1, 3)"));
  CHECK(Shape{std::numeric_limits<int64_t>::max()}.numel() == std::numeric_limits<int64_t>::max());
}

TEST_CASE("shape: broadcasting follows NumPy") {
  CHECK(broadcast({2, 3}, {3}) == Shape{2, 3});
  CHECK(broadcast({2, 1}, {1, 4}) == Shape{2, 4});
  CHECK(broadcast({}, {2, 2}) == Shape{2, 2});
  CHECK(broadcast({0, 3}, {1, 3}) == Shape{0, 3});
  CHECK(broadcast({1}, {0}) == Shape{0});
  CHECK(one_line_with(error_of([] { broadcast({2, 3}, {2}); }), "(2, 3)", "(2)"));
  CHECK(one_line_with(error_of([] { broadcast({0}, {2}); }), "(0)", "(2)"));
}

TEST_CASE("window: output extents") {
  CHECK(Window{3, 1, 1}.output(32) == 32);
  CHECK(Window{3, 2, 1}.output(32) == 16);
  CHECK(Window{7, 2, 3}.output(224) == 112);
  CHECK(Window{2, 2, 0}.output(5) == 2);
  CHECK(Window{5, 3, 0}.output(5) == 1);
  CHECK(one_line_with(error_of([] { Window{5, 1, 0}.output(4); }), "5", "4"));
  CHECK(one_line_with(error_of([] { Window{3, 0, 0}.output(4); }), "stride", "0"));
}
